"""Damaged folders of every layout: one line of ours at most, and no box lost without a word.

A failing name and number are a layout and a seed.
"""

from __future__ import annotations

import random

import pytest

from ghostyolo.data.check import check_dataset
from ghostyolo.data.formats import load_dataset
from ghostyolo.data.show import show_dataset
from ghostyolo.errors import GhostYoloError
from tests.data.layout_folders import ALL, WRITERS
from tests.fuzz.mutations import damage

ANNOTATIONS = (".txt", ".xml", ".json", ".yaml", ".csv", ".names", ".labels", ".data")
BOXES = sum(map(len, ALL.values()))


def check_damaged(root, name: str, seed: int) -> None:
    """Damage one or two annotation files of a stranger's folder."""
    WRITERS[name][2](root / "in")
    rng = random.Random(seed)
    described = [path for path in sorted((root / "in").rglob("*")) if path.suffix in ANNOTATIONS]
    for path in rng.sample(described, min(len(described), rng.randint(1, 2))):
        path.write_bytes(damage(path.read_bytes(), rng))
    for look in (check_dataset, load_dataset, lambda place: show_dataset(place, root / "page.html")):
        try:
            look(root / "in")
        except GhostYoloError as error:
            assert str(error)
            assert "\n" not in str(error), f"{name} {seed}: {error!r}"


@pytest.mark.parametrize("name", WRITERS)
def test_damaged_folders_end_in_one_line(tmp_path, name):
    for seed in range(2):
        check_damaged(tmp_path / str(seed), name, seed)


@pytest.mark.slow
@pytest.mark.parametrize("name", WRITERS)
def test_many_damaged_folders_end_in_one_line(tmp_path, name):
    for seed in range(2, 60):
        check_damaged(tmp_path / str(seed), name, seed)


@pytest.mark.parametrize("name", WRITERS)
def test_a_label_file_or_picture_that_is_gone_is_said(tmp_path, name):
    """Of what is deleted, every box is read or reported."""
    for seed in range(2):
        root = tmp_path / str(seed)
        WRITERS[name][2](root)
        rng = random.Random(seed)
        pictures = [path for path in sorted(root.rglob("*")) if path.suffix.lower() == ".jpg"]
        rng.choice(pictures).unlink()
        report = check_dataset(root)
        read = sum(len(record.labels) for records in report.data.splits.values() for record in records)
        kinds = {fault.kind for fault in report.problems}
        assert read < BOXES
        assert kinds & {"missing-image", "labels-without-image", "not-read", "missing-labels"}, (
            f"{name} {seed}: {kinds}"
        )
