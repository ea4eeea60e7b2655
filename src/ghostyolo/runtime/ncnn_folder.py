"""The folder ``x_ncnn``: ``model.ncnn.param`` (graph), ``model.ncnn.bin`` (weights) and ``metadata.json``.

The text of a ``.param`` has no place for a comment and none for metadata, so that lies beside it, with the SHA-256 of
both files: ncnn ends the process on weights that are cut short, and computes with damaged ones as if nothing were.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from ghostyolo.errors import WeightsError
from ghostyolo.files import write_json
from ghostyolo.metadata import METADATA_KEY, ModelMetadata

PARAM, BIN, DESCRIPTION = "model.ncnn.param", "model.ncnn.bin", "metadata.json"
_FILES = "files"


def write_description(folder: Path, metadata: ModelMetadata) -> None:
    """Write ``metadata.json`` for the two files that lie in ``folder``."""
    sums = {name: _sum(folder / name) for name in (PARAM, BIN)}
    write_json(folder / DESCRIPTION, {METADATA_KEY: metadata.model_dump(mode="json"), _FILES: sums})


def read_description(param: Path) -> ModelMetadata:
    """Check the folder of a ``.param`` file and return its metadata.

    Raises:
        WeightsError: a file is missing, changed or truncated, or the folder was not written by ghostyolo.
    """
    folder = param.parent
    path = folder / DESCRIPTION
    if not path.is_file():
        raise WeightsError(f"{folder} was not written by ghostyolo, or not copied whole: it has no {DESCRIPTION}")
    try:
        description = json.loads(path.read_text(encoding="utf-8"))
        metadata, sums = description[METADATA_KEY], dict(description[_FILES])
    except (ValueError, KeyError, TypeError) as error:
        raise WeightsError(f"{path} is damaged or of another program: export it again") from error
    for name in (param.name, BIN):
        file = folder / name
        if not file.is_file():
            raise WeightsError(f"{folder} has no {name}: copy the whole folder")
        if sums.get(name) != _sum(file):
            raise WeightsError(
                f"{file} is not the file that was exported: truncated, damaged or replaced; export again"
            )
    return ModelMetadata.from_json(json.dumps(metadata), str(path))


def _sum(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
