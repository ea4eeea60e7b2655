"""What a grid needs to know of the command that trains its cells, and what both commands share."""

from __future__ import annotations

import csv
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from pydantic import BaseModel

from ghostyolo.ablate.grid import Options, merge_options, spread_dots
from ghostyolo.ablate.settings import Settings, recipe_settings
from ghostyolo.errors import ConfigError, suggest
from ghostyolo.train.recipe import Recipe

_GIVEN_BY_THE_GRID = {
    "seed": "seeds are given once, as 'seeds'",
    "data": "all cells share 'data'",
    "out": "folders are the grid's",
    "resume": "unfinished cells are gone on with anyway",
    "qat": "fine-tuning for INT8 is no cell of a grid",
}
# Options that mean nothing where nobody teaches.
TEACHING = ("alpha", "tau", "teacher_weights", "teacher_imgsz", "teacher_cache", "distil")


@dataclass(frozen=True)
class Setup:
    """How one cell of one model is trained, whatever the seed.

    Attributes:
        model: what the command takes.
        recipe: validated.
        extras: options of the command beside its recipe.
        settings: what the result depends on; the seed is that of ``recipe``.
        costs: ``params_deployed`` and ``macs_deployed`` where the run does not write them.
    """

    model: str
    recipe: Recipe
    extras: Options
    settings: Settings
    costs: dict[str, int | None] = field(default_factory=dict)


@dataclass(frozen=True)
class Figures:
    """What a finished run says.

    Attributes:
        last: score -> 0 to 1, of the averaged weights after the last epoch.
        best: of the weights of the epoch with the best score.
        images_per_second: training pictures; None where it was not measured.
        training_seconds: spent in epochs.
        params_deployed, macs_deployed: of the folded network.
    """

    last: dict[str, float]
    best: dict[str, float]
    images_per_second: float | None
    training_seconds: float | None
    params_deployed: int | None
    macs_deployed: int | None


class TaskKind(ABC):
    """A command, its recipe and its data set.

    Attributes:
        command: its name.
        extras: options that are no keys of its recipe, and their types.
        scores: columns of metrics.csv, the one that decides first.
        results: the file that a finished run has.
        titles: the scores in words.
    """

    command: ClassVar[str]
    recipe_class: ClassVar[type[Recipe]]
    extras: ClassVar[dict[str, type]]
    scores: ClassVar[tuple[str, str]]
    titles: ClassVar[tuple[str, str]]
    results: ClassVar[str]

    def __init__(self, data: str) -> None:
        self.data = str(Path(data).resolve())

    @abstractmethod
    def recipe_file(self, recipe: Any) -> Options:
        """Keys of what the option ``recipe`` names."""

    @abstractmethod
    def setup(self, model: str, recipe: Recipe, extras: Options) -> Setup:
        """Build the network, read the data, and refuse what cannot be trained.

        Raises:
            GhostYoloError: anything the user can mend.
        """

    @abstractmethod
    def check_teacher(self, student: Setup, taught_here: Setup | None) -> str:
        """Refuse a teacher that cannot teach; say which it is.

        Args:
            student: its recipe names the teacher.
            taught_here: how it is trained, where the grid does that first.
        """

    @abstractmethod
    def figures(self, folder: Path, costs: Mapping[str, int | None]) -> Figures:
        """Read a finished run."""

    def resolve(self, options: Options, where: str) -> tuple[Recipe, Options]:
        """Options of a cell, all of them, as a recipe and the command's other options; ``model`` is not looked at.

        Raises:
            ConfigError: an unknown option, with the nearest valid one, or an impossible value.
        """
        given = spread_dots(options)
        own = self.recipe_class.model_fields
        augment = _fields_of(own["augment"].default_factory)
        for key in given:
            if key in _GIVEN_BY_THE_GRID:
                raise ConfigError(f"{where}: '{key}' is no option of a cell: {_GIVEN_BY_THE_GRID[key]}")
            if key not in {*own, *augment, *self.extras, "recipe", "model"}:
                valid = {*own, *augment, *self.extras, "recipe", "model"} - set(_GIVEN_BY_THE_GRID)
                raise ConfigError(f"{where}: unknown option '{key}': {suggest(key, valid)}")
        inner = {key: given.pop(key) for key in list(given) if key in augment and key not in own}
        recipe = given.pop("recipe", None)
        given.pop("model", None)
        extras = {key: given.pop(key) for key in self.extras if key in given and key not in own}
        for key, value in extras.items():
            if value is not None and type(value) is not self.extras[key]:
                raise ConfigError(f"{where}: '{key}' is {value!r}: it must be of type {self.extras[key].__name__}")
        values = self.recipe_file(recipe) if recipe is not None else {}
        values = merge_options(values, merge_options(given, {"augment": inner} if inner else {}))
        return self.recipe_class.from_dict(values, where), {k: v for k, v in extras.items() if v is not None}

    def settings(self, recipe: Recipe, extras: Options, network: Settings, data: Settings) -> Settings:
        """All that decides the result of a run, as plain values."""
        return {
            "task": self.command,
            "network": network,
            "recipe": recipe_settings(recipe),
            "options": extras,
            "data": data,
            "teacher": None,
        }


def last_scores(folder: Path, names: tuple[str, ...]) -> dict[str, float]:
    """The scores in the last row of metrics.csv that has any.

    Raises:
        ConfigError: no epoch was validated.
    """
    with (folder / "metrics.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row.get(f"val/{names[0]}")]
    if not rows:
        raise ConfigError(f"{folder} has no validated epoch: nothing can be compared")
    return {name: float(rows[-1][f"val/{name}"]) for name in names if rows[-1].get(f"val/{name}")}


def _fields_of(factory: Any) -> set[str]:
    default: BaseModel = factory()
    return set(type(default).model_fields)
