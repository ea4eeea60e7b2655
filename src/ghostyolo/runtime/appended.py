"""Metadata in a zip archive at the end of a file whose readers look at its beginning only.

TFLite's own metadata carries label files in the same way (https://ai.google.dev/edge/litert/models/metadata); any
unzip program shows them: ``unzip -p x.tflite ghostyolo.json``.
"""

from __future__ import annotations

import zipfile
from pathlib import Path

from ghostyolo.metadata import METADATA_KEY, ModelMetadata

MEMBER = f"{METADATA_KEY}.json"


def append_metadata(path: Path, metadata: ModelMetadata) -> None:
    """Append the archive with the metadata to a file that has none."""
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(zipfile.ZipInfo(MEMBER), metadata.to_json())


def read_appended(path: Path) -> str | None:
    """The metadata's JSON; None: the file has no archive, or one without it."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.read(MEMBER).decode() if MEMBER in archive.namelist() else None
    except (zipfile.BadZipFile, UnicodeDecodeError, EOFError):
        return None
