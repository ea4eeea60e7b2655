"""The criterion of the end-to-end head.

The same loss for two branches that differ in how many cells an object teaches.

Source: Wang et al., 2024, "YOLOv10" (arXiv 2405.14458), section 3.1. Both assignments rank cells by one metric
(consistent matching: the same exponents of score and overlap), so that two branches which predict alike agree on the
best cell.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from ghostyolo.data.targets import Targets
from ghostyolo.losses.dfl import DflCriterion
from ghostyolo.losses.registry import register_criterion
from ghostyolo.losses.task_aligned import TaskAlignedAssigner

if TYPE_CHECKING:
    from ghostyolo.models.heads.outputs import EndToEndOutput


class EndToEndCriterion(nn.Module):
    """Sum of two :class:`DflCriterion`, one for each branch of an `EndToEndOutput`; holds no parameters.

    Args:
        num_classes: classes of the head.
        bins: bins of each side.
        topk: cells an object teaches in the one-to-many branch.

    Raises:
        ConfigError: fewer than 1 class, 2 bins or 1 cell.
    """

    parts = ("many_box", "many_cls", "many_dfl", "one_box", "one_cls", "one_dfl")
    takes_known = True

    def __init__(self, num_classes: int, bins: int = 16, topk: int = 10) -> None:
        super().__init__()
        self.many = DflCriterion(num_classes, bins, assigner=TaskAlignedAssigner(topk=topk))
        self.one = DflCriterion(num_classes, bins, assigner=TaskAlignedAssigner(topk=1))

    def forward(self, output: EndToEndOutput, targets: Targets) -> dict[str, Tensor]:
        """Loss of one batch; see :meth:`DflCriterion.forward`, whose parts are here once for each branch."""
        many, one = self.many(output.one_to_many, targets), self.one(output.one_to_one, targets)
        loss = many.pop("loss") + one.pop("loss")
        return {
            "loss": loss,
            **{f"many_{name}": part for name, part in many.items()},
            **{f"one_{name}": part for name, part in one.items()},
        }


@register_criterion("end2end")
def end2end_criterion(head: Any) -> EndToEndCriterion:
    """The criterion of :class:`ghostyolo.models.heads.end2end.EndToEndHead`."""
    return EndToEndCriterion(head.num_classes, bins=head.bins)
