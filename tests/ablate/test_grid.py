"""What a grid's declaration means, and what is refused in it."""

from __future__ import annotations

import pytest

from ghostyolo.ablate.grid import Grid
from ghostyolo.errors import ConfigError

LEAST = {"data": "d", "models": ["m"], "seeds": 2, "cells": {"a": {"lr": 0.1}}}


def grid(**changes) -> Grid:
    return Grid.from_dict({**LEAST, **changes})


def test_short_forms() -> None:
    found = grid()
    assert (found.seeds, found.models, found.task) == ([0, 1], {"m": "m"}, "classification")
    assert grid(models={"label": "net"}).models == {"label": "net"}
    assert grid(models="net").models == {"net": "net"}


def test_lists_combine_cells_and_axes_make_cells() -> None:
    found = grid(
        cells={"mix": {"augment": {"cutmix": 1}}, "erase": {"augment": {"erase": 0.5}}, "both": ["mix", "erase"]},
        vary={"lr": [0.1, 0.2]},
        product={"branches": [1, 3], "augment.mixup": [0.5]},
    ).changes()
    assert found == {
        "mix": {"augment": {"cutmix": 1}},
        "erase": {"augment": {"erase": 0.5}},
        "both": {"augment": {"cutmix": 1, "erase": 0.5}},
        "lr=0.1": {"lr": 0.1},
        "lr=0.2": {"lr": 0.2},
        "branches=1, augment.mixup=0.5": {"branches": 1, "augment.mixup": 0.5},
        "branches=3, augment.mixup=0.5": {"branches": 3, "augment.mixup": 0.5},
    }


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sells": {}}, "unknown key 'sells': did you mean cells"),
        ({"task": "clasification"}, "'task' is 'clasification': input should be 'classification' or 'detection'"),
        ({"seeds": []}, "no seeds: give --seeds 3"),
        ({"seeds": 0}, "no seeds"),
        ({"seeds": [1, 1]}, "the seed 1 is there twice"),
        ({"seeds": [-1]}, "a seed is 0 or more"),
        ({"models": ["a", "a"]}, "the model a is there twice"),
        ({"models": []}, "no models: give --model NAME"),
        ({"data": None}, "no data: give --data PATH"),
        ({"cells": {"a": 3}}, "'cells.a"),
    ],
)
def test_one_line_says_what_is_wrong(changes, message) -> None:
    with pytest.raises(ConfigError) as caught:
        grid(**changes)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cells": {"base": {}}}, "'base' is what all cells share"),
        ({"cells": {"a b": {}, "a-b": {}}}, "would share one folder"),
        ({"cells": {"a": ["b"]}}, "there is no cell 'b'"),
        ({"cells": {"a": ["b"], "b": ["a"]}}, "is made of itself"),
        ({"cells": {"lr=1": {}}, "vary": {"lr": [1]}}, "two cells are called 'lr=1'"),
        ({"cells": {}}, "nothing is compared"),
    ],
)
def test_impossible_cells_are_refused(changes, message) -> None:
    with pytest.raises(ConfigError, match=message):
        grid(**changes).changes()
