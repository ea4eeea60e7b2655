"""Beginning from weights of another task: what is kept, and that it is what it was."""

from __future__ import annotations

import pytest
import torch

from ghostyolo.models.detector import build_model
from ghostyolo.models.transfer import adopt_weights
from tests.train import tiny

THEIRS = ["highway:car", "lions:Lion", "dog"]


def network(classes: int, channels: int = 3, seed: int = 0, **options):
    torch.manual_seed(seed)
    return build_model(tiny.CONFIG, num_classes=classes, in_channels=channels, **options)


def class_rows(model) -> list[torch.Tensor]:
    return [branch[-1].weight.detach() for branch in model.head.cls]


def test_all_but_the_class_rows_is_kept_and_rows_where_names_agree():
    theirs, mine = network(3), network(4, seed=1)
    fresh = [rows.clone() for rows in class_rows(mine)]
    adopted = adopt_weights(mine, ["lion", "cat", "Dog", "CAR"], theirs.state_dict(), THEIRS)
    assert adopted.classes == ["lion", "Dog", "CAR"]
    assert adopted.kept == adopted.total
    for rows, source, before in zip(class_rows(mine), class_rows(theirs), fresh, strict=True):
        torch.testing.assert_close(rows[[0, 2, 3]], source[[1, 2, 0]])
        torch.testing.assert_close(rows[1], before[1])
    for name, value in theirs.state_dict().items():
        if not name.startswith("head.cls"):
            torch.testing.assert_close(mine.state_dict()[name], value)


def test_as_many_classes_of_other_names_do_not_take_each_other_s_rows():
    theirs, mine = network(3), network(3, seed=1)
    fresh = [rows.clone() for rows in class_rows(mine)]
    adopted = adopt_weights(mine, ["a", "b", "c"], theirs.state_dict(), THEIRS)
    assert adopted.classes == []
    assert adopted.kept == adopted.total - 2 * len(fresh)
    for rows, before in zip(class_rows(mine), fresh, strict=True):
        torch.testing.assert_close(rows, before)
    assert str(adopted) == f"{adopted.kept} of {adopted.total} tensors kept"


def test_the_very_same_name_comes_before_one_without_its_set():
    theirs, mine = network(2), network(1, seed=1)
    adopt_weights(mine, ["a:car"], theirs.state_dict(), ["b:car", "a:car"])
    torch.testing.assert_close(class_rows(mine)[0][0], class_rows(theirs)[0][1])


@pytest.mark.parametrize("channels", [1, 4, 6])
def test_a_grey_picture_gives_the_same_first_map_with_any_channels(channels):
    theirs, mine = network(2), network(2, channels=channels, seed=1)
    adopted = adopt_weights(mine, ["a", "b"], theirs.state_dict(), ["a", "b"])
    assert adopted.colours
    assert "the first convolution fitted to the channels" in str(adopted)
    grey = torch.rand(1, 1, 64, 64)
    first, second = (
        model.backbone.fine[0](grey.expand(1, count, 64, 64)) for model, count in ((theirs, 3), (mine, channels))
    )
    torch.testing.assert_close(first, second, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("branches", [1, 3])
def test_other_numbers_of_branches_give_the_same_answers(branches):
    torch.manual_seed(0)
    theirs = build_model("ghostyolo-p", num_classes=2, branches=2).eval()
    mine = build_model("ghostyolo-p", num_classes=2, branches=branches).eval()
    adopt_weights(mine, ["a", "b"], theirs.state_dict(), ["a", "b"])
    pictures = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        for one, other in zip(theirs(pictures), mine(pictures), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3)
