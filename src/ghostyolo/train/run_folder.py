"""The folder of a run: its recipe, and who may start there. No torch."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic

import yaml

from ghostyolo.config import Options, merge_options, read_yaml, spread_dots
from ghostyolo.data.records import ImageRecord
from ghostyolo.errors import ConfigError, TrainingError, short
from ghostyolo.files import locked, make_output_folder, write_text
from ghostyolo.train.recipe import R, Recipe, given_options

CONFIG = "config.yaml"
_MOVED = {
    "weights": "weights",
    "backbone_weights": "backbone_weights",
    "channels": "in_channels",
    "label_column": "label_column",
}
# Where the data lie may change: what they are is told by their digest.
_PLACE = "data"


@dataclass(frozen=True)
class Wanted(Generic[R]):
    """What a run is asked for.

    Attributes:
        recipe: the settings, those of the run to resume where they are not given anew.
        given: settings by name, as the caller and the recipe's file have them.
        begun: the description of the run to resume; empty where one begins.
    """

    recipe: R
    given: Options
    begun: dict[str, Any]


def settle_recipe(
    kind: type[R],
    out: str | Path,
    *,
    recipe: str | Path | None,
    options: Mapping[str, Any] | None,
    resume: bool,
    usual: Callable[[Options], Options] | None = None,
) -> Wanted[R]:
    """Bring together a recipe, given settings, and the run to resume.

    Args:
        kind: of recipe.
        out: folder of the run.
        recipe: name of a recipe of the package, or a YAML file.
        options: settings by name, dots in it or mappings inside; None means "as by default".
        resume: what is not given is as the run in ``out`` was begun.
        usual: fills in what is left open at the start of a run.

    Raises:
        ConfigError: an unknown key, a wrong value, or a file that cannot be read.
        TrainingError: nothing to resume.
    """
    given = merge_options(kind.read(recipe), spread_dots(given_options(options)))
    where = "recipe" if recipe is None else f"recipe {recipe}"
    if not resume:
        return Wanted(kind.from_dict(usual(given) if usual else given, where), given, {})
    stored, begun = read_begun(out, kind)
    return Wanted(kind.from_dict(merge_options(stored.model_dump(exclude_unset=True), given), where), given, begun)


def refuse_taken(out: str | Path) -> None:
    """Stop where a folder holds a run.

    Raises:
        TrainingError: see above.
    """
    if (Path(out) / CONFIG).exists():
        raise TrainingError(f"{out} already holds a training run: go on with --resume, or choose another --out")


def begin(
    out: str | Path, recipe: Recipe, run: dict[str, Any], *, resume: bool, files: Mapping[str, str] | None = None
) -> Path:
    """Take the folder for a run, or check the run in it.

    Args:
        files: text files by name that are written beside the config of a run that begins.

    Raises:
        TrainingError: a run is there already and ``resume`` is off, or none is there and it is on.
        ConfigError: the recipe, model or data differ from those of the run to resume.
        OutputError: the folder cannot be written.
    """
    config = Path(out) / CONFIG
    if not resume:
        refuse_taken(out)
        folder = make_output_folder(out)
        text = yaml.safe_dump({"recipe": recipe.model_dump(mode="json"), "run": run}, sort_keys=False)
        for name, content in (files or {}).items():
            write_text(folder / name, content)
        write_text(config, text)
        return folder
    stored_recipe, stored_run = read_begun(out, type(recipe))
    difference = recipe.difference(stored_recipe)
    if difference is None:
        difference = next(
            (
                (key, run[key], stored_run.get(key))
                for key in run
                if key != _PLACE and _plain(run[key]) != stored_run.get(key)
            ),
            None,
        )
    if difference is not None:
        key, given, stored = difference
        raise ConfigError(
            f"cannot resume {out} with another '{key}' ({short(given)}; the run has {short(stored)}): "
            "leave it as it was, or choose another --out"
        )
    return make_output_folder(out)


@contextmanager
def hold(out: str | Path) -> Iterator[None]:
    """Keep the run in a folder to this process.

    Raises:
        TrainingError: another process trains it.
    """
    with locked(Path(out) / CONFIG) as alone:
        if not alone:
            raise TrainingError(f"{out} is being trained by another process: wait for its end, or stop it first")
        yield


def read_begun(out: str | Path, kind: type[R]) -> tuple[R, dict[str, Any]]:
    """Read the recipe and the description of the run in a folder.

    Raises:
        TrainingError: there is no run in it.
        ConfigError: its config was damaged.
    """
    config = Path(out) / CONFIG
    if not config.is_file():
        raise TrainingError(f"nothing to resume: {out} holds no training run ({CONFIG} is not there)")
    values = read_yaml(config, "config")
    recipe, run = values.get("recipe"), values.get("run")
    if not isinstance(recipe, dict) or not isinstance(run, dict):
        raise ConfigError(f"{config} is not the config of a training run: 'recipe' and 'run' are missing")
    # Before they were settings of the recipe, these stood in the description of the run.
    earlier = {key: run.get(place) for key, place in _MOVED.items() if key in kind.model_fields}
    return kind.from_dict({**earlier, **recipe}, str(config)), run


def file_digest(path: str | Path) -> str:
    """A short hash of a file's content."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()[:16]


def records_digest(records: Sequence[ImageRecord]) -> str:
    """A short hash of a split's file names, boxes and labels, in order."""
    digest = hashlib.sha256()
    for record in records:
        digest.update(os.fsencode(record.path.name))
        digest.update(record.boxes_xyxy.tobytes())
        digest.update(record.labels.tobytes())
    return digest.hexdigest()[:16]


def _plain(value: Any) -> Any:
    return yaml.safe_load(yaml.safe_dump(value))
