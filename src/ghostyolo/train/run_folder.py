"""The folder of a run: who may start in it, and whether a resumed run is the one that was begun. No torch."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from ghostyolo.data.records import DetectionData, ImageRecord
from ghostyolo.errors import ConfigError, TrainingError
from ghostyolo.files import make_output_folder, write_text
from ghostyolo.metadata import ModelMetadata
from ghostyolo.train.recipe import R, Recipe, read_recipe_file

CONFIG = "config.yaml"
# Where the data lie may change: what they are is told by their digest.
_PLACE = "data"


def describe_run(
    metadata: ModelMetadata,
    data: DetectionData,
    origin: Mapping[str, str | None] | None = None,
    teacher: str | None = None,
) -> dict[str, Any]:
    """What a run learns from and into, beside its recipe; a resume compares all but the place.

    Args:
        origin: where weights came from, by kind.
        teacher: its file's name and digest.
    """
    return {
        "model": metadata.model,
        "network": metadata.config,
        **{kind: (origin or {}).get(kind) for kind in ("weights", "backbone_weights")},
        "in_channels": metadata.in_channels,
        "class_names": metadata.class_names,
        _PLACE: [os.path.abspath(root) for root in data.sources] or os.path.abspath(data.root),
        "pictures": {split: len(records) for split, records in data.splits.items()},
        "labels_digest": records_digest(data.splits.get("train", [])),
        "teacher": teacher,
    }


def begin(out: str | Path, recipe: Recipe, run: dict[str, Any], *, resume: bool) -> Path:
    """Take the folder for a run, or check that it holds the run to go on with.

    Raises:
        TrainingError: a run is there already and ``resume`` is off, or none is there and it is on.
        ConfigError: the recipe, model or data differ from those of the run to resume.
        OutputError: the folder cannot be written.
    """
    config = Path(out) / CONFIG
    if not resume:
        if config.exists():
            raise TrainingError(f"{out} already holds a training run: go on with --resume, or choose another --out")
        folder = make_output_folder(out)
        text = yaml.safe_dump({"recipe": recipe.model_dump(mode="json"), "run": run}, sort_keys=False)
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
            f"cannot resume {out} with another '{key}' ({_short(given)}; the run has {_short(stored)}): "
            "leave it as it was, or choose another --out"
        )
    return make_output_folder(out)


def read_begun(out: str | Path, kind: type[R]) -> tuple[R, dict[str, Any]]:
    """The recipe, of the given kind, and the description of the run in a folder.

    Raises:
        TrainingError: there is no run in it.
        ConfigError: its config was damaged.
    """
    config = Path(out) / CONFIG
    if not config.is_file():
        raise TrainingError(f"nothing to resume: {out} holds no training run ({CONFIG} is not there)")
    values = read_recipe_file(config)
    if not isinstance(values.get("recipe"), dict) or not isinstance(values.get("run"), dict):
        raise ConfigError(f"{config} is not the config of a training run: 'recipe' and 'run' are missing")
    return kind.from_dict(values["recipe"], str(config)), values["run"]


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


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else text[:57] + "..."
