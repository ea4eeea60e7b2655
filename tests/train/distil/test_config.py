"""What is learned from a teacher, as text, YAML and Python say it."""

from __future__ import annotations

import pytest

from ghostyolo.errors import ConfigError
from ghostyolo.train.distil.config import DEFAULT_WEIGHTS
from ghostyolo.train.recipe import TrainRecipe


def distil(value):
    return TrainRecipe.from_dict({"teacher": "big.safetensors", "distil": value}).distil


def test_without_a_word_all_parts_are_on() -> None:
    config = TrainRecipe.from_dict({"teacher": "big.safetensors"}).distil
    assert (config.weights(), config.by_name, config.tau) == (DEFAULT_WEIGHTS, False, 2.0)
    assert distil({"tau": 4}).weights() == DEFAULT_WEIGHTS


@pytest.mark.parametrize(
    ("value", "weights", "tau"),
    [
        ("logits,boxes", {"logits": 1.0, "boxes": 1.0}, 2.0),
        ("features", {"features": DEFAULT_WEIGHTS["features"]}, 2.0),
        (" logits = 2 , features=0.5, tau=4", {"logits": 2.0, "features": 0.5}, 4.0),
        ("logits=0,boxes=1", {"boxes": 1.0}, 2.0),
        ({"boxes": 3}, {"boxes": 3.0}, 2.0),
        ({"logits": 0, "boxes": 0, "features": 0}, {}, 2.0),
    ],
)
def test_names_left_out_are_off(value, weights, tau) -> None:
    config = distil(value)
    assert (config.weights(), config.tau, config.by_name) == (weights, tau, True)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("logit=1", r"unknown key 'distil.logit': did you mean logits"),
        ({"box": 1}, r"unknown key 'distil.box': did you mean boxes"),
        ("logits=-1", r"'distil.logits' is -1.0: input should be greater than or equal to 0"),
        ("logits=1,tau=0", r"'distil.tau' is 0.0: input should be greater than 0"),
        ("logits=much", r"'distil' is 'logits=much': 'much' is not a number: write a weight such as logits=1"),
        ("logits=", r"'' is not a number"),
        ("", r"write parts and weights such as logits=1,boxes=1"),
        ("logits,logits", r"each name once"),
        ("tau", r"write parts and weights"),
        (3, r"'distil' is 3"),
    ],
)
def test_a_mistake_is_one_clear_line(value, message) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        distil(value)
    assert "\n" not in str(caught.value)


def test_parts_without_a_teacher_are_refused() -> None:
    with pytest.raises(ConfigError, match="give --teacher FILE"):
        TrainRecipe.from_dict({"distil": "logits"})
