"""ONNX Runtime Web comes from npm once, whole and checked, or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from ghostyolo.errors import ExportError
from ghostyolo.export.web import runtime_files
from ghostyolo.export.web.runtime_files import FILES, fetch_runtime, unpack_runtime
from ghostyolo.export.web.server import PageServer
from ghostyolo.files import sha256_of
from tests.export.web.runtime_packages import use_package, write_package


@pytest.fixture
def registry(tmp_path, monkeypatch):
    """A registry on this machine that holds a small package."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "registry").mkdir()
    package = write_package(tmp_path / "registry" / "package.tgz")
    server = PageServer(package.parent)
    server.start()
    monkeypatch.setattr(runtime_files, "URL", f"{server.url}package.tgz")
    monkeypatch.setattr(runtime_files, "SHA256", sha256_of(package))
    yield package
    server.stop()


def files_of(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def test_it_is_fetched_once(registry):
    package = fetch_runtime()
    assert package.read_bytes() == registry.read_bytes()
    registry.unlink()
    assert fetch_runtime() == package


def test_a_damaged_copy_in_the_cache_is_fetched_again(registry):
    package = fetch_runtime()
    package.write_bytes(b"half")
    assert fetch_runtime().read_bytes() == registry.read_bytes()


def test_another_checksum_is_one_line_and_leaves_nothing(registry, tmp_path, monkeypatch):
    monkeypatch.setattr(runtime_files, "SHA256", "0" * 64)
    with pytest.raises(ExportError, match="not the file that was published") as caught:
        fetch_runtime()
    assert "\n" not in str(caught.value)
    assert files_of(tmp_path / "cache") == []


def test_no_network_says_where_to_put_the_file(registry, monkeypatch):
    monkeypatch.setattr(runtime_files, "URL", "http://127.0.0.1:9/package.tgz")
    with pytest.raises(ExportError, match=r"cannot be reached .*another machine, and put it at .*package\.tgz"):
        fetch_runtime()


def test_only_what_a_page_needs_is_unpacked(tmp_path, monkeypatch):
    unpack_runtime(use_package(monkeypatch, tmp_path), tmp_path / "onnxruntime")
    assert files_of(tmp_path / "onnxruntime") == sorted([*FILES, "LICENSE"])
    assert (tmp_path / "onnxruntime" / FILES[0]).read_text() == FILES[0]
