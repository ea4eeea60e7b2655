"""The criterion of the end-to-end head."""

from __future__ import annotations

import pytest
import torch

from ghostyolo.data.targets import Targets
from ghostyolo.losses.dfl import DflCriterion
from ghostyolo.losses.end2end import EndToEndCriterion
from ghostyolo.losses.registry import build_criterion
from ghostyolo.losses.task_aligned import TaskAlignedAssigner
from ghostyolo.models.heads.dfl import DflHead
from ghostyolo.models.heads.end2end import EndToEndHead
from ghostyolo.models.heads.outputs import EndToEndOutput
from tests.losses.scenes import random_output, random_targets


def outputs(batch: int = 2) -> EndToEndOutput:
    return EndToEndOutput(random_output(batch, 64, 3, seed=0), random_output(batch, 64, 3, seed=1))


def test_it_is_the_sum_of_both_branches_with_ten_cells_an_object_and_one():
    output, targets = outputs(), random_targets([6, 9], 64, 3)
    losses = EndToEndCriterion(3)(output, targets)
    many = DflCriterion(3, assigner=TaskAlignedAssigner(topk=10))(output.one_to_many, targets)
    one = DflCriterion(3, assigner=TaskAlignedAssigner(topk=1))(output.one_to_one, targets)
    torch.testing.assert_close(losses["loss"], many["loss"] + one["loss"])
    for part in ("box", "cls", "dfl"):
        assert torch.equal(losses[f"many_{part}"], many[part])
        assert torch.equal(losses[f"one_{part}"], one[part])
    assert set(losses) == {"loss", *EndToEndCriterion.parts}


def test_the_one_to_one_branch_learns_at_most_one_cell_an_object():
    output, targets = outputs(1), random_targets([8], 64, 3, largest=0.9)
    EndToEndCriterion(3)(output, targets)["loss"].backward()
    learning = [
        int((branch.box_logits.grad.abs().sum(-1) > 0).sum()) for branch in (output.one_to_many, output.one_to_one)
    ]
    assert 1 <= learning[1] <= 8 < learning[0]


@pytest.mark.parametrize("objects", [0, 2], ids=["M = 0", "all padding"])
def test_a_batch_without_objects_teaches_background_only(objects):
    output = outputs()
    empty = Targets(
        torch.zeros(2, objects, 4), torch.zeros(2, objects, dtype=torch.long), torch.zeros(2, objects, dtype=torch.bool)
    )
    losses = EndToEndCriterion(3)(output, empty)
    losses["loss"].backward()
    for branch, name in ((output.one_to_many, "many"), (output.one_to_one, "one")):
        assert losses[f"{name}_box"] == losses[f"{name}_dfl"] == 0
        assert losses[f"{name}_cls"] > 0
        assert (branch.cls_logits.grad > 0).all()


def test_it_is_built_from_the_head():
    head = EndToEndHead(DflHead, in_channels=(8,), strides=(8,), num_classes=3, bins=4)
    criterion = build_criterion("end2end", head)
    output = head.train()([torch.rand(2, 8, 8, 8)])
    losses = criterion(output, random_targets([2, 0], 64, 3))
    losses["loss"].backward()
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in head.parameters())
