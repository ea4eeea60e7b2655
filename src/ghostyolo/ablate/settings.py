"""All that a run's result depends on, as plain values.

They are written beside the run, hashed, and compared with those of a grid.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ghostyolo.models.registry import describe_part, list_parts
from ghostyolo.train.recipe import OF_THE_NETWORK, RESUMABLE_WITH_OTHER, Recipe
from ghostyolo.train.run_folder import file_digest

Settings = dict[str, Any]
CELL_FILE = "cell.json"
# What a run starts from; it is compared by what files hold, not by where they lie.
_START = ("weights", "backbone_weights", "channels", "label_column")


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
