"""Six hundred generated data sets: no traceback, and boxes in are boxes read plus boxes reported.

A failing number is a seed: ``data_sets.write(folder, seed)`` writes that data set again.
"""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import pytest

from ghostyolo.data.check import check_dataset, write_clean_copy
from ghostyolo.data.formats import load_dataset
from ghostyolo.errors import DataError, GhostYoloError
from tests.fuzz.data_sets import BOX_FAULTS, write

SEEDS = range(600)
QUICK_SEEDS = range(0, 600, 20)


def check_seed(root: Path, seed: int) -> None:
    """Hold the numbers of one data set against what was written."""
    _, pictures = write(root / "in", seed)
    usable = [picture for picture in pictures if not picture.fault]
    boxes = [box for picture in usable for box in picture.boxes]
    outcome = Counter(BOX_FAULTS.get(box.fault, "kept") for box in boxes)
    repeats = sum(box.fault == "repeated" for box in boxes)
    refused = sum(BOX_FAULTS.get(box.fault) == "refused" for picture in pictures for box in picture.boxes)
    try:
        report = check_dataset(root / "in")
    except DataError as error:
        assert not usable, f"seed {seed}: {error}"
        return
    kinds = Counter(fault.kind for fault in report.problems)
    read = sum(len(record.labels) for records in report.data.splits.values() for record in records)
    assert read == outcome["kept"] + outcome["clipped"] + repeats, f"seed {seed}"
    reported = kinds["zero-area-box"] + kinds["box-outside"]
    assert reported == outcome["dropped"] + outcome["clipped"], f"seed {seed}"
    lost = [picture for picture in pictures if picture.fault]
    # Of a picture that is gone or hidden, a reader by folders sees no more than its labels.
    named = kinds["unreadable-image"] + kinds["missing-image"] + kinds["labels-without-image"]
    assert named >= len([picture for picture in lost if picture.fault != "hidden"]), f"seed {seed}"
    assert kinds["bad-label"] + kinds["unknown-class"] <= refused, f"seed {seed}"
    if sum(BOX_FAULTS.get(box.fault) == "refused" for box in boxes):
        with pytest.raises(DataError, match="data check"):
            load_dataset(root / "in")
    if not usable:
        return
    write_clean_copy(report, root / "out")
    clean = load_dataset(root / "out")
    assert sum(len(records) for records in clean.splits.values()) == len(usable), f"seed {seed}"
    unique = sum(len({(box.corners, box.label, box.fault) for box in picture.boxes
                      if BOX_FAULTS.get(box.fault, "kept") in ("kept", "clipped")}) for picture in usable)  # fmt: skip
    kept = sum(len(record.labels) for records in clean.splits.values() for record in records)
    assert unique - repeats <= kept <= unique, f"seed {seed}"


def check_damaged(root: Path, seed: int) -> None:
    """Damage the files that describe a data set at random: a GhostYoloError at most, never another."""
    write(root / "in", seed)
    rng = random.Random(seed)
    described = [path for path in sorted((root / "in").rglob("*")) if path.suffix in (".txt", ".xml", ".json", ".yaml")]
    for path in rng.sample(described, min(2, len(described))):
        data = bytearray(path.read_bytes())
        for _ in range(rng.randint(1, 8)):
            if data:
                place = rng.randrange(len(data))
                data[place : place + rng.randint(0, 3)] = rng.randbytes(rng.randint(0, 3))
        path.write_bytes(bytes(data[: rng.randint(0, len(data))] if rng.random() < 0.2 else data))
    try:
        report = check_dataset(root / "in")
        write_clean_copy(report, root / "out")
        load_dataset(root / "out")
    except GhostYoloError as error:
        assert str(error)
        assert "\n" not in str(error), f"seed {seed}: {error!r}"


@pytest.mark.parametrize("seed", QUICK_SEEDS)
def test_a_generated_data_set_adds_up(tmp_path, seed):
    check_seed(tmp_path, seed)
    check_damaged(tmp_path / "damaged", seed)


@pytest.mark.slow
def test_six_hundred_generated_data_sets_add_up(tmp_path):
    for seed in SEEDS:
        check_seed(tmp_path / str(seed), seed)


@pytest.mark.slow
def test_six_hundred_damaged_data_sets_end_without_a_traceback(tmp_path):
    for seed in SEEDS:
        check_damaged(tmp_path / str(seed), seed)
