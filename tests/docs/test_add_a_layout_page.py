"""The page that says how to add a layout adds one: its file is all that reading needs."""

from __future__ import annotations

import re
import sys

import pytest

from tests.data.builders import picture, text
from tests.docs.pages import REPOSITORY

PAGE = REPOSITORY / "docs" / "add-a-layout.md"
FILE = re.compile(r"`src/ghostyolo/data/formats/(\w+)\.py`:\n\n```python\n(.*?)```", re.DOTALL)
ROW = "{} 0.00 0 -1.58 {} {} {} {} 1.65 1.67 3.64 -0.65 1.71 46.70 -1.59\n"


@pytest.fixture
def added(tmp_path, monkeypatch):
    """Put the page's file where the package looks for layouts."""
    import ghostyolo.data.formats as formats
    from ghostyolo.data.formats.layout import layouts

    folder = tmp_path / "package"
    folder.mkdir()
    monkeypatch.setattr(formats, "__path__", [*formats.__path__, str(folder)])
    ((name, code),) = FILE.findall(PAGE.read_text(encoding="utf-8"))
    (folder / f"{name}.py").write_text(code, encoding="utf-8")
    layouts.cache_clear()
    yield
    sys.modules.pop(f"ghostyolo.data.formats.{name}", None)
    vars(formats).pop(name, None)
    monkeypatch.undo()
    layouts.cache_clear()


@pytest.mark.usefixtures("added")
def test_the_pages_layout_is_found_read_and_checked(tmp_path):
    from ghostyolo.data.check import check_dataset
    from ghostyolo.data.formats import load_dataset
    from ghostyolo.errors import DataError

    root = tmp_path / "kitti"
    for seed, split in enumerate(("training", "testing")):
        picture(root / split / f"image_2/00000{seed}.png", seed=seed)
    rows = ROW.format("Car", 10.5, 5, 30, 35) + ROW.format("DontCare", 50, 10, 60, 20)
    label = text(root / "training/label_2/000000.txt", rows)
    data = load_dataset(root)
    assert (data.layout, data.class_names, list(data.splits)) == ("kitti", ["Car", "ignored"], ["train"])
    (record,) = data.splits["train"]
    assert record.boxes_xyxy.tolist() == [[10.5, 5, 30, 35], [50, 10, 60, 20]]
    assert record.crowd.tolist() == [False, True]
    assert "1 pictures have no annotation, such as 000001.png" in [fault.message for fault in data.faults]
    text(label, ROW.format("Car", 10.5, "x", 30, 35))
    assert check_dataset(f"kitti:{root}").count("error") == 2  # the row, and that no box is left
    with pytest.raises(DataError, match=r"000000\.txt: line 1: the corners are not four numbers"):
        load_dataset(root)
    text(label, "Car 1 2\n")
    with pytest.raises(DataError, match=r"\*\.txt of 15 fields for a picture \(KITTI\)"):
        load_dataset(root)
