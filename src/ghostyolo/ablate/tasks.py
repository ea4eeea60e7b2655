"""What a grid knows of the command that trains its cells.

Settings are all that a run's result depends on, as plain values, which are written beside it, hashed and compared.
"""

from __future__ import annotations

import csv
import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sized
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from ghostyolo.config import Options, merge_options, spread_dots
from ghostyolo.errors import ConfigError
from ghostyolo.models.registry import describe_part, list_parts
from ghostyolo.train.recipe import OF_THE_NETWORK, RESUMABLE_WITH_OTHER, Recipe
from ghostyolo.train.run_folder import file_digest

Settings = dict[str, Any]
T = TypeVar("T", bound=Sized)
CELL_FILE = "cell.json"
# What a run starts from; it is compared by what files hold, not by where they lie.
_START = ("weights", "backbone_weights", "channels", "label_column")

_GIVEN_BY_THE_GRID = {
    "seed": "seeds are given once, as 'seeds'",
    "data": "all cells share 'data'",
    "out": "folders are the grid's",
    "resume": "unfinished cells are gone on with anyway",
    "plan": "cells are compared at settings that are given, not chosen by data and machine",
    "target_ms": "cells say their model",
    "probe": "a grid compares by itself",
    "minutes": "as many minutes are another training on another machine: give epochs",
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
        settings: what the result depends on; the seed is that of ``recipe``.
        costs: ``params_deployed`` and ``macs_deployed`` where the run does not write them.
    """

    model: str
    recipe: Recipe
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
        scores: columns of metrics.csv, the one that decides first.
        results: the file that a finished run has.
        titles: the scores in words.
    """

    command: ClassVar[str]
    recipe_class: ClassVar[type[Recipe]]
    scores: ClassVar[tuple[str, str]]
    titles: ClassVar[tuple[str, str]]
    results: ClassVar[str]

    def __init__(self, data: str) -> None:
        self.data = str(Path(data).resolve())

    @abstractmethod
    def setup(self, model: str, recipe: Recipe) -> Setup:
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

    def resolve(self, options: Options, where: str) -> Recipe:
        """The recipe of a cell, from all its options; ``model`` is not looked at.

        Raises:
            ConfigError: an unknown option, with the nearest valid one, or an impossible value.
        """
        given = spread_dots(options)
        for key in given:
            if key in _GIVEN_BY_THE_GRID:
                raise ConfigError(f"{where}: '{key}' is no option of a cell: {_GIVEN_BY_THE_GRID[key]}")
        given.pop("model", None)
        recipe = self.recipe_class.read(given.pop("recipe", None))
        return self.recipe_class.from_dict(merge_options(recipe, given), where)

    def settings(self, recipe: Recipe, network: Settings, data: Settings) -> Settings:
        """All that decides the result of a run, as plain values."""
        return {
            "task": self.command,
            "network": network,
            "recipe": recipe_settings(recipe),
            "options": start_settings(recipe),
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


def recipe_settings(recipe: Recipe) -> Settings:
    """Settings of a recipe that change what is learned.

    Those of the network stand in its declaration.
    """
    values = recipe.model_dump(mode="json")
    return {key: value for key, value in values.items() if key not in {*RESUMABLE_WITH_OTHER, *OF_THE_NETWORK, *_START}}


def start_settings(recipe: Recipe) -> Settings:
    """What a run starts from, as far as it was given."""
    given = {key: getattr(recipe, key) for key in _START if key in recipe.model_fields_set}
    return {
        key: file_identity(value) if key.endswith("weights") else value
        for key, value in given.items()
        if value is not None
    }


def network_settings(declaration: Mapping[str, Any]) -> Settings:
    """A network's declaration with the defaults of its parts, without its name."""
    values = {key: value for key, value in declaration.items() if key != "name"}
    for kind in ("backbone", "neck", "head"):
        part = values.get(kind)
        if part is not None and part["type"] in list_parts(kind):
            usual = describe_part(kind, part["type"])["params"]
            values[kind] = {**part, "params": {**usual, **part["params"]}}
    plain: Settings = json.loads(json.dumps(values))
    return plain


def normalised(settings: Settings, recipe_class: type[Recipe]) -> Settings:
    """Settings that were stored, with the keys that have come since at their defaults."""
    stored = settings["recipe"]
    # Where the teacher lay is not kept, and a recipe may be impossible without one.
    recipe = recipe_class.from_dict({**stored, "teacher": settings["teacher"]}, CELL_FILE)
    values = {**recipe_settings(recipe), **({"teacher": None} if "teacher" in stored else {})}
    return {**settings, "recipe": values, "network": network_settings(settings["network"])}


def data_settings(class_names: list[str], splits: Mapping[str, T], digest: Callable[[T], str]) -> Settings:
    """What a run's result depends on of its data."""
    described = {split: {"pictures": len(records), "digest": digest(records)} for split, records in splits.items()}
    return {"class_names": class_names, **described}


def digest_of(value: Any) -> str:
    """A short hash of plain values."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def file_identity(path: str) -> str:
    """Name a file and hash what it holds.

    A name that is no file stays as it is.
    """
    if not Path(path).is_file():
        return path
    return f"{Path(path).name} {file_digest(path)}"


def first_difference(mine: Any, theirs: Any, place: str = "") -> tuple[str, Any, Any] | None:
    """Find the first key at which two settings differ, and both values.

    Keys inside have dots; None where they agree.
    """
    if isinstance(mine, dict) and isinstance(theirs, dict):
        for key in {**theirs, **mine}:
            found = first_difference(mine.get(key), theirs.get(key), f"{place}.{key}" if place else key)
            if found is not None:
                return found
        return None
    return None if mine == theirs else (place, mine, theirs)
