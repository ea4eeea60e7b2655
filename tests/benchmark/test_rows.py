"""Rows as JSON, as Markdown and as a picture."""

from __future__ import annotations

import json

import cv2
import pytest

from ghostyolo.benchmark.picture import check_picture, draw
from ghostyolo.benchmark.rows import markdown, table
from ghostyolo.errors import ConfigError
from tests.benchmark.rows import row


def test_json_has_the_documented_keys_and_its_own_conditions():
    written = json.loads(json.dumps(row(median_ms=10.123456).to_json()))
    documented = {"model", "engine", "precision", "threads", "imgsz", "median_ms", "p95_ms", "ratio"}
    assert documented <= set(written)
    assert written["median_ms"] == 10.1235
    assert written["machine"]["cpu"] == "Test CPU"
    assert written["AP"] is None


def test_markdown_is_one_table_with_dashes_for_what_is_not_known():
    rows = [row(), row(model="a|b", median_ms=25.0, ratio=2.5, params_m=None, macs_g=None, flops_g=None)]
    text = markdown(rows, rows[0])
    lines = text.splitlines()
    heads, rule, first, second = (line.replace("\\|", "!").split("|")[1:-1] for line in lines[:4])
    assert len(heads) == len(rule) == len(first) == len(second)
    cells = dict(zip([head.strip() for head in heads], [cell.strip() for cell in second], strict=True))
    assert cells["model"] == "a!b"
    assert (cells["network ms"], cells["ratio"], cells["params M"]) == ("25.00", "2.50", "-")
    assert "Test CPU, 4 cores, 8 GiB" in text
    assert "onnxruntime 1.20.0" in text
    assert "1 thread, batch 1" in text
    assert "of small on onnxruntime" in text
    assert "Energy: not measurable here (this machine shows no RAPL counters)" in text


def test_columns_of_energy_and_ap_appear_where_a_row_has_them():
    assert not {"AP", "J/image"} & set(table([row()])[0])
    headings, cells = table([row(AP=0.5), row(energy_j=0.25, energy="CPU package (RAPL)")])
    assert [line[headings.index("AP")] for line in cells] == ["0.500", "-"]
    assert [line[headings.index("J/image")] for line in cells] == ["-", "0.250"]


@pytest.mark.parametrize("known", [True, False], ids=["AP", "bars"])
@pytest.mark.parametrize("count", [1, 4])
def test_pictures_are_drawn_of_one_row_and_of_several(tmp_path, known, count):
    rows = [
        row(model=f"m{number}", median_ms=10.0 + number, AP=0.5 if known else None, engine=f"engine{number % 2}")
        for number in range(count)
    ]
    draw(rows, tmp_path / "picture.png")
    image = cv2.imread(str(tmp_path / "picture.png"))
    assert image.shape[1] > 600
    assert image.std() > 5
    assert [path.name for path in tmp_path.iterdir()] == ["picture.png"]


def test_rows_without_ap_are_left_out_of_the_picture_of_ap(tmp_path):
    draw([row(AP=0.5), row(model="untrained")], tmp_path / "picture.svg")
    assert "untrained" not in (tmp_path / "picture.svg").read_text()


def test_what_cannot_be_drawn_is_refused_before_anything_is_measured(tmp_path):
    with pytest.raises(ConfigError, match=r"must end in .png, .svg, .pdf"):
        check_picture(tmp_path / "picture.txt")
