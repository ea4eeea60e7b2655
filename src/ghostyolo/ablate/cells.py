"""The runs that a grid takes, each validated before the first starts."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from ghostyolo.ablate.classification import Classification
from ghostyolo.ablate.detection import Detection
from ghostyolo.ablate.grid import BASE, Grid
from ghostyolo.ablate.tasks import (
    CELL_FILE,
    TEACHING,
    Settings,
    Setup,
    TaskKind,
    digest_of,
    first_difference,
    normalised,
)
from ghostyolo.config import Options, merge_options, spread_dots
from ghostyolo.errors import ConfigError, GhostYoloError, TrainingError, short, suggest
from ghostyolo.files import slug
from ghostyolo.train.epoch_end import LAST
from ghostyolo.train.recipe import Recipe
from ghostyolo.train.run_folder import CONFIG

T = TypeVar("T")
_TEACHER_FILES = frozenset(("teacher", "teacher_weights"))
KINDS: dict[str, type[TaskKind]] = {"classification": Classification, "detection": Detection}


@dataclass(frozen=True)
class Run:
    """One training: a cell of a model with a seed, or a teacher.

    Attributes:
        model: its label; empty for a teacher.
        cell: its name.
        setup: with the seed, the teacher's file and the cache in its recipe.
        teacher: name of the grid's teacher that must be trained before; None: none.
    """

    model: str
    cell: str
    seed: int
    folder: Path
    setup: Setup
    teacher: str | None

    @property
    def name(self) -> str:
        """For messages."""
        return ", ".join([*filter(None, [self.model]), self.cell, f"seed {self.seed}"])


@dataclass(frozen=True)
class Plan:
    """All runs of a grid, those of the first seed first.

    Attributes:
        teachers: name -> its run; only those that a cell names.
        same: (label, cell) -> the cell of that model with the same settings, which is trained instead.
    """

    grid: Grid
    kind: TaskKind
    out: Path
    runs: list[Run]
    teachers: dict[str, Run]
    same: dict[tuple[str, str], str]


def make_plan(grid: Grid, out: str | Path) -> Plan:
    """Resolve and check every cell of every model.

    Networks are built, data is read, and folders are looked into.

    Raises:
        GhostYoloError: the first thing that is wrong, with the cell it is in; or a folder that holds something else.
    """
    out = Path(out).resolve()
    kind = KINDS[grid.task](grid.data)
    changes: dict[str, Options] = {BASE: {}, **{name: spread_dots(change) for name, change in grid.changes().items()}}
    _refuse_shared_labels(grid)
    # All options first, which takes no time; then networks and data.
    asked = {
        (label, cell): _in_place(_resolve, f"cell '{cell}' of {label}", kind, grid, label, change)
        for label in grid.models
        for cell, change in changes.items()
    }
    teachers = {name: _in_place(_teacher_run, f"teacher '{name}'", kind, grid, name, out) for name in grid.teachers}
    setups: dict[tuple[str, str], tuple[Setup, str | None]] = {}
    same: dict[tuple[str, str], str] = {}
    seen: dict[tuple[str, str], str] = {}
    for (label, cell), resolved in asked.items():
        where = f"cell '{cell}' of {label}"
        setup, teacher = _in_place(_setup, where, kind, resolved, teachers)
        first = seen.setdefault((label, digest_of(setup.settings)), cell)
        if first != cell and cell in grid.cells:
            raise ConfigError(f"{where} changes nothing: it is the same as '{first}'")
        if first != cell:
            same[label, cell] = first
        else:
            setups[label, cell] = (setup, teacher)
    runs = [
        _seeded(Run(label, cell, seed, _folder(out, label, cell, seed), setup, teacher))
        for seed in grid.seeds
        for (label, cell), (setup, teacher) in setups.items()
    ]
    used = {run.teacher for run in runs}
    plan = Plan(grid, kind, out, runs, {name: run for name, run in teachers.items() if name in used}, same)
    for run in all_runs(plan):
        check_folder(run, kind)
    _refuse_other_grid(plan)
    return plan


def all_runs(plan: Plan) -> Iterator[Run]:
    """Teachers and cells."""
    yield from plan.teachers.values()
    yield from plan.runs


def is_finished(run: Run, kind: TaskKind) -> bool:
    """Say whether a run wrote its results.

    Its settings were compared when the plan was made.
    """
    return (run.folder / kind.results).is_file()


def check_folder(run: Run, kind: TaskKind) -> None:
    """Refuse a folder that holds another run than this one.

    Raises:
        TrainingError: a run that no grid started, or one with other settings; the first difference is named.
    """
    file = run.folder / CELL_FILE
    advice = "choose another --out, or move that folder away"
    if not file.is_file():
        if (run.folder / CONFIG).exists():
            raise TrainingError(f"{run.folder} holds a run that no grid started ({CELL_FILE} is not there): {advice}")
        return
    try:
        stored: Settings = json.loads(file.read_text(encoding="utf-8"))["settings"]
        held = normalised(stored, kind.recipe_class) if stored["task"] == kind.command else stored
    except (ValueError, KeyError, TypeError) as error:
        raise TrainingError(f"{file} is damaged: {advice}") from error
    found = first_difference(run.setup.settings, held)
    if found is not None:
        key, mine, theirs = found
        raise TrainingError(
            f"{run.folder} was trained with another '{key}' ({short(theirs)} there, {short(mine)} here): {advice}"
        )


def cell_record(run: Run) -> dict[str, Any]:
    """What is written beside a run, by which it is recognised."""
    settings = run.setup.settings
    return {
        "model": run.model,
        "cell": run.cell,
        "seed": run.seed,
        "digest": digest_of(settings),
        "settings": settings,
    }


def _resolve(where: str, kind: TaskKind, grid: Grid, label: str, change: Options) -> tuple[str, Recipe]:
    """The network and the recipe of a cell, before anything is built."""
    options = merge_options(spread_dots(grid.base), change)
    if "model" in grid.base:
        raise ConfigError("'base' names a model: give it among 'models'")
    network = _network(options, label, grid)
    recipe = kind.resolve(options, where)
    idle = next((key for key in TEACHING if change.get(key) is not None), None)
    if idle is not None and getattr(recipe, "teacher", None) is None:
        raise ConfigError(f"'{idle}' changes nothing without a teacher: give 'teacher' as well")
    return network, recipe


def _setup(where: str, kind: TaskKind, asked: tuple[str, Recipe], teachers: dict[str, Run]) -> tuple[Setup, str | None]:
    setup = kind.setup(*asked)
    source = getattr(setup.recipe, "teacher", None)
    if source is None:
        return setup, None
    named = teachers.get(source)
    try:
        setup.settings["teacher"] = kind.check_teacher(setup, named.setup if named else None)
    except GhostYoloError as error:
        if named is not None or not teachers:
            raise
        raise type(error)(f"{error} (teachers of this grid: {', '.join(teachers)})") from error
    # Places of files; what they are stands under 'teacher'.
    setup.settings["recipe"].update({key: None for key in _TEACHER_FILES & set(setup.settings["recipe"])})
    if named is None:
        return setup, None
    taught = setup.recipe.model_copy(update={"teacher": str(named.folder / LAST)})
    return replace(setup, recipe=taught), source


def _network(options: Options, label: str, grid: Grid) -> str:
    model = grid.models[label]
    chosen = options.get("model", model)
    if isinstance(chosen, dict):
        for key in chosen:
            if key not in grid.models:
                raise ConfigError(f"'model' names no model '{key}' of this grid: {suggest(key, grid.models)}")
        chosen = chosen.get(label, model)
    if not isinstance(chosen, str):
        raise ConfigError(f"'model' is {chosen!r}: it must be a name, or a name for each model of the grid")
    return chosen


def _teacher_run(where: str, kind: TaskKind, grid: Grid, name: str, out: Path) -> Run:
    options = dict(grid.teachers[name])
    seed = options.pop("seed", grid.seeds[0])
    if not isinstance(seed, int) or isinstance(seed, bool) or seed < 0:
        raise ConfigError(f"'seed' is {seed!r}: it must be a number of 0 or more")
    model = options.get("model")
    if not isinstance(model, str):
        raise ConfigError("which network? Give 'model'")
    recipe = kind.resolve(options, where)
    if getattr(recipe, "teacher", None) is not None:
        raise ConfigError("a teacher has no teacher of its own here: train that one first, and give its file")
    return _seeded(Run("", where, seed, out / "teachers" / slug(name), kind.setup(model, recipe), None))


def _seeded(run: Run) -> Run:
    """The run with its seed, and with a folder of its own for the teacher's logits.

    Runs that show a teacher the same pictures have one folder.
    """
    recipe = run.setup.recipe.model_copy(update={"seed": run.seed})
    settings = {**run.setup.settings, "recipe": {**run.setup.settings["recipe"], "seed": run.seed}}
    cache = getattr(recipe, "teacher_cache", None)
    if cache is not None:
        seen = ("seed", "epochs", "imgsz", "batch", "devices", "num_nodes", "augment", "teacher_imgsz")
        values = [settings["recipe"].get(key) for key in seen]
        key = digest_of([settings["teacher"], settings["data"], settings["options"], values])
        recipe = recipe.model_copy(update={"teacher_cache": str((Path(cache) / key).resolve())})
    return replace(run, setup=replace(run.setup, recipe=recipe, settings=settings))


def _folder(out: Path, label: str, cell: str, seed: int) -> Path:
    return out / "runs" / slug(label) / slug(cell) / f"seed{seed}"


def _refuse_other_grid(plan: Plan) -> None:
    """A folder with runs of which not one is in the plan has a table that must not be lost."""
    held = sorted(path.parent for path in plan.out.glob(f"runs/*/*/*/{CELL_FILE}"))
    if held and not {run.folder for run in plan.runs} & set(held):
        raise TrainingError(
            f"{plan.out} holds another grid (with {held[0].relative_to(plan.out)}): choose another --out"
        )


def _refuse_shared_labels(grid: Grid) -> None:
    folders: dict[str, str] = {}
    for label in grid.models:
        other = folders.setdefault(slug(label), label)
        if other != label:
            raise ConfigError(f"the models '{other}' and '{label}' would share one folder: give them other labels")


def _in_place(step: Callable[..., T], where: str, *arguments: Any) -> T:
    """Do a step; what goes wrong is said with its place in the grid before it."""
    try:
        return step(where, *arguments)
    except GhostYoloError as error:
        text = str(error)
        raise type(error)(text if text.startswith(where) else f"{where}: {text}") from error
