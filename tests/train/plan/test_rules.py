"""Each rule: fingerprints in, the planned value and its reason out."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from ghostyolo.config import spread_dots
from ghostyolo.data.fingerprint import DataFingerprint
from ghostyolo.train.plan.machine import Machine
from ghostyolo.train.plan.plan import Plan
from ghostyolo.train.plan.rules import LEAST_STEPS, NetworkFacts, Pace, mirrored_classes, plan_training
from ghostyolo.train.recipe import TrainRecipe

BLOOD = {
    "pictures": 205, "val_pictures": 87, "boxes": 2804, "class_names": ["Platelets", "RBC", "WBC"],
    "class_share": [0.6, 1.0, 0.95], "class_boxes": [209, 2381, 214], "long_side": 640.0, "one_size": True,
    "small_box": 0.126, "median_box": 0.159, "size_spread": 0.2, "place_spread": 0.27, "boxes_a_picture": 13.7,
    "grey": False, "sets": 1,
}  # fmt: skip
TWO_CORES = {"cores": 2, "threads": "2 threads", "free_gib": 4.0, "gpu": None}


def plan(given: dict[str, Any] | None = None, machine: dict[str, Any] | None = None, stride: int = 32, **data: Any):
    fingerprint = DataFingerprint.from_dict({**BLOOD, **data})
    made = Plan(TrainRecipe.from_dict(spread_dots(given or {})))
    plan_training(
        made,
        fingerprint,
        Machine.from_dict({**TWO_CORES, **(machine or {})}),
        NetworkFacts(stride, 1.09),
        shown=lambda recipe: fingerprint.pictures,
        measure=lambda recipe: Pace(fingerprint.pictures, 0.02, 0.005),
    )
    return made


def value(name: str, **arguments: Any) -> Any:
    return plan(**arguments).choices[name].value


def test_the_size_shows_the_boxes_and_is_not_larger_than_the_pictures() -> None:
    assert value("imgsz") == 320
    assert value("imgsz", small_box=0.3, median_box=0.5) == 224
    assert value("imgsz", small_box=0.05, median_box=0.07, long_side=352.0) == 384
    assert value("imgsz", long_side=200.0, small_box=0.05) == 224
    assert value("imgsz", small_box=0.004, median_box=0.01, long_side=4000.0, machine={"gpu": "H200"}) == 640
    assert value("imgsz", boxes=0, small_box=0.0, median_box=0.0) == 224
    assert value("imgsz", stride=64, long_side=352.0, small_box=0.05) % 64 == 0


def test_short_time_takes_pixels_before_steps() -> None:
    short = plan(given={"minutes": 5.0, "threads": 1})
    assert short.choices["imgsz"].value < 320
    assert "too few steps in 5 minutes" in short.choices["imgsz"].reason
    # Down to six pixels of a small box.
    assert value("imgsz", given={"minutes": 1.0, "threads": 1}) == 128
    assert value("imgsz", given={"minutes": 1.0, "threads": 1}, small_box=0.018, long_side=640.0) == 352


def test_a_small_set_gets_steps_and_ends_within_half_an_hour() -> None:
    made = plan()
    steps = made.choices["epochs"].value * 13
    assert LEAST_STEPS <= steps <= 4013
    assert "30 min" in made.choices["epochs"].reason or "about" in made.choices["epochs"].reason
    minutes = int(made.choices["epochs"].reason.split("about ")[1].split()[0])
    assert minutes <= 30
    assert value("epochs", pictures=12) == 600
    assert value("epochs", pictures=50_000) == 30
    assert value("epochs", machine={"gpu": "H200"}) == 4000 // 13


def test_few_pictures_have_smaller_batches() -> None:
    assert value("batch") == 16
    assert value("batch", pictures=48) == 8


def test_busy_cores_do_not_change_what_is_learned() -> None:
    quiet, busy = plan(), plan(machine={"threads": "1 thread (busy)"})
    assert quiet.choices == busy.choices
    assert "threads" not in quiet.choices


def test_minutes_make_epochs_by_the_measured_pace() -> None:
    made = plan(given={"minutes": 10.0})
    # 205 pictures at 20 ms are 4.1 s; 30 validations of 87 pictures at 5 ms take 13 s.
    assert made.choices["epochs"].value == int((600 - 30 * 87 * 0.005) / 4.1)
    assert made.choices["val_every"].value == 5
    assert "patience" in made.choices


def test_the_range_of_scales_follows_the_sizes_of_a_class() -> None:
    assert value("augment.scale", size_spread=0.09) == 0.1
    assert value("augment.scale", size_spread=0.36) == pytest.approx(0.12)
    assert value("augment.scale", size_spread=0.45) == pytest.approx(0.3)
    assert value("augment.scale", size_spread=0.8) == 0.5


@pytest.mark.parametrize(
    ("name", "sided"),
    [
        ("greenleft", True), ("turn_right", True), ("Left hand", True), ("arrow", True), ("7", True), ("b", True),
        ("links abbiegen", True), ("左转", True), ("bright lamp", False), ("upright piano", False),
        ("leftovers", False), ("cleft", False), ("kangaroo", False), ("aircraft", False), ("copyright", False),
        ("10", False), ("_", False),
    ],
)  # fmt: skip
def test_names_tell_which_classes_have_sides(name, sided) -> None:
    assert bool(mirrored_classes([name])) is sided


def test_classes_with_sides_are_not_mirrored() -> None:
    made = plan(class_names=["red", "left", "right"])
    assert made.choices["augment.fliplr"].value == 0
    assert "left, right" in made.choices["augment.fliplr"].reason
    assert value("augment.fliplr") == 0.5


def test_grey_pictures_keep_their_greys() -> None:
    assert value("augment.hsv_s", grey=True) == 0
    assert "augment.hsv_s" not in plan().choices


def test_rare_classes_are_shown_more_often_where_there_are_some() -> None:
    made = plan(class_share=[0.9, 0.4, 0.02])
    assert made.choices["sampling.repeat_threshold"].value == 0.4
    assert "up to 4.5 times as often: WBC" in made.choices["sampling.repeat_threshold"].reason
    assert "sampling.repeat_threshold" not in plan().choices
    assert "sampling.repeat_threshold" not in plan(class_share=[0.9, 0.4, 0.0]).choices


def test_pictures_that_do_not_fit_are_read_by_other_processes() -> None:
    assert value("workers") == 0
    large = plan(pictures=100_000, machine={"gpu": "H200", "cores": 16})
    assert large.choices["workers"].value == 8
    assert "GiB" in large.choices["workers"].reason


def test_what_is_given_is_never_chosen_and_later_rules_go_by_it() -> None:
    given = {"imgsz": 416, "batch": 4, "augment.fliplr": 0.25, "epochs": 7}
    made = plan(given=given, class_names=["a", "b", "c"])
    for name, held in given.items():
        assert (made.choices[name].value, made.choices[name].reason) == (held, "given")
    assert made.options().keys() & {"imgsz", "batch", "epochs"} == set()
    assert made.choices["close_mosaic"].value == 1
    recipe = made.recipe()
    assert (recipe.imgsz, recipe.augment.fliplr, recipe.augment.scale) == (416, 0.25, 0.1)


def test_a_plan_is_fifteen_lines_at_most_with_a_reason_each() -> None:
    made = plan(grey=True, class_names=["left", "right", "x"], class_share=[0.9, 0.4, 0.01], pictures=100_000)
    made.notes.append("adamw at 0.003")
    lines = made.lines()
    assert len(lines) <= 15
    assert lines[-1].strip() == "adamw at 0.003"
    shown = [choice for choice in made.choices.values() if choice.shown]
    assert all(choice.reason for choice in made.choices.values())
    assert len(lines) == len(shown) + 2


def test_the_file_has_every_value_its_reason_and_what_was_seen() -> None:
    made = plan()
    made.seen["data"] = {"pictures": 205}
    stored = yaml.safe_load(made.to_yaml())
    assert stored["plan"]["imgsz"] == {"value": 320, "why": made.choices["imgsz"].reason}
    assert stored["plan"].keys() == made.choices.keys()
    assert stored["data"]["pictures"] == 205


def test_pictures_that_are_on_both_sides_are_said() -> None:
    assert plan(copies=3, val_copies=0).notes == []
    assert plan().notes == []
    leaking, repeated = plan(copies=120, val_copies=9).notes
    assert leaking.startswith("9 of 87 val pictures have a near-duplicate in train")
    assert repeated == "120 of 205 training pictures are copies or frames of others"
