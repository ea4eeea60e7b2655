"""The page that says how to add a format adds one: its two files are all that export and prediction need."""

from __future__ import annotations

import re
import sys

import numpy as np
import pytest

from tests.docs.pages import REPOSITORY

pytest.importorskip("torch", reason="exporting needs ghostyolo[train]")

PAGE = REPOSITORY / "docs" / "add-a-format.md"
FILE = re.compile(r"`src/ghostyolo/(\S+?)/(\w+\.py)`:\n\n```python\n(.*?)```", re.DOTALL)


@pytest.fixture
def added(tmp_path, monkeypatch):
    """Put the page's files where the package looks for formats and engines."""
    import ghostyolo.export.formats as formats
    import ghostyolo.runtime.engines as engines

    for package in (formats, engines):
        folder = tmp_path / package.__name__
        folder.mkdir()
        monkeypatch.setattr(package, "__path__", [*package.__path__, str(folder)])
        files = [(name, code) for place, name, code in FILE.findall(PAGE.read_text(encoding="utf-8"))
                 if f"ghostyolo.{place.replace('/', '.')}" == package.__name__]  # fmt: skip
        assert len(files) == 1
        (folder / files[0][0]).write_text(files[0][1], encoding="utf-8")
    formats.export_formats.cache_clear()
    engines.engine_kinds.cache_clear()
    yield
    for package in (formats, engines):
        sys.modules.pop(f"{package.__name__}.onnxgz", None)
        vars(package).pop("onnxgz", None)
    monkeypatch.undo()
    formats.export_formats.cache_clear()
    engines.engine_kinds.cache_clear()


@pytest.mark.usefixtures("added")
def test_the_pages_format_is_exported_compared_opened_and_known_everywhere(tmp_path):
    from ghostyolo.benchmark.candidates import check_precision, find_engine
    from ghostyolo.errors import ConfigError, WeightsError
    from ghostyolo.runtime.predictor import load
    from tests.export import exported_files as files

    path = files.export(tmp_path / "m.onnxgz", "onnxgz")
    assert files.parity_report(path)["engine"] == "onnxgz"
    predictor = load(path, threads=1, engine_options={"enable_mem_pattern": False})
    (detections,) = predictor.detect([np.zeros((48, 80, 3), np.uint8)], confidence=0.0)
    assert len(detections) > 0
    with pytest.raises(ConfigError, match="did you mean enable_mem_pattern"):
        load(path, engine_options={"enable_mem_patern": False})
    (tmp_path / "cut.onnxgz").write_bytes(path.read_bytes()[:100])
    with pytest.raises(WeightsError, match="truncated or damaged"):
        load(tmp_path / "cut.onnxgz")
    assert find_engine("onnxgz").suffix == ".onnxgz"
    with pytest.raises(ConfigError, match="onnxgz is given fp32, not int8"):
        check_precision("onnxgz", "int8")
