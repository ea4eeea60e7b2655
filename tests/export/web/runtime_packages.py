"""Stands in for npm: a package of the right names and small contents."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

from ghostyolo.export.web import runtime_files
from ghostyolo.files import sha256_of


def write_package(path: Path) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name in (*runtime_files.FILES, "ort.all.js"):
            content = name.encode()
            member = tarfile.TarInfo(f"package/dist/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def use_package(monkeypatch, folder: Path) -> Path:
    """Put a small package into a cache of its own, so that nothing is fetched."""
    cache = folder / "cache"
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    place = cache / "ghostyolo" / "web" / Path(runtime_files.URL).name
    place.parent.mkdir(parents=True)
    write_package(place)
    monkeypatch.setattr(runtime_files, "SHA256", sha256_of(place))
    return place
