"""The parts of two detectors that can be compared.

They have common strides, and heads whose cells mean the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from ghostyolo.errors import ConfigError
from ghostyolo.models.detector import DetectionModel
from ghostyolo.models.heads.anchor import AnchorHead
from ghostyolo.models.heads.dfl import DflHead
from ghostyolo.models.heads.end2end import EndToEndHead
from ghostyolo.models.heads.yolox import YoloXHead

MANY, ONE = "one_to_many", "one_to_one"


@dataclass(frozen=True)
class Compatibility:
    """What a teacher can teach a student.

    Attributes:
        strides: those that both have, ascending.
        branches: the heads' branches whose cells are compared, of "one_to_many" and "one_to_one"; an object is found
            at many cells by the first, at one by the second, so only alike can be compared.
        obstacle: why scores and boxes cannot be compared; None where they can.
        notes: of a part, how it is compared.
    """

    strides: tuple[int, ...]
    branches: tuple[str, ...]
    obstacle: str | None
    notes: dict[str, str]

    def choose(self, weights: Mapping[str, float], by_name: bool, teacher: str) -> dict[str, float]:
        """Those of the wanted parts that fit.

        Args:
            by_name: whether the user named them, and must hear of one that does not fit.

        Raises:
            ConfigError: one of them does not.
        """
        fitting = {part: weight for part, weight in weights.items() if part == "features" or self.obstacle is None}
        missing = [part for part in weights if part not in fitting]
        if missing and by_name:
            raise ConfigError(
                f"teacher {teacher} cannot teach {' and '.join(missing)}: {self.obstacle}; leave "
                f"{'it' if len(missing) == 1 else 'them'} out of distil"
            )
        return fitting

    def describe(self, chosen: Mapping[str, float], tau: float) -> str:
        """One line: which parts are used, and which are not."""
        used = (f"{part} x {weight:g}{self.notes.get(part, '')}" for part, weight in chosen.items())
        line = f"teaches {', '.join(used)}; tau {tau:g}, strides {', '.join(map(str, self.strides))}"
        return line if self.obstacle is None else f"{line}; not logits and boxes: {self.obstacle}"


def compare(student: DetectionModel, teacher: DetectionModel, source: str) -> Compatibility:
    """What fits.

    Args:
        source: what the user called the teacher.

    Raises:
        ConfigError: they have no stride in common.
    """
    strides = tuple(sorted(set(student.strides) & set(teacher.strides)))
    if not strides:
        raise ConfigError(
            f"teacher {source} has strides {', '.join(map(str, teacher.strides))}, the student "
            f"{', '.join(map(str, student.strides))}: choose one that has some in common"
        )
    branches = tuple(branch for branch in (MANY, ONE) if branch in _branches(student) and branch in _branches(teacher))
    obstacle = _obstacle(student, teacher, strides, branches)
    bins = tuple(getattr(network.head, "bins", None) for network in (student, teacher))
    notes = {}
    if None in bins or bins[0] != bins[1]:
        notes["boxes"] = " (decoded: the heads have other bins)" if None not in bins else " (decoded)"
    if adapter_widths(student, teacher, strides):
        notes["features"] = " (1x1 adapters)"
    return Compatibility(strides, branches, obstacle, notes)


def adapter_widths(
    student: DetectionModel, teacher: DetectionModel, strides: tuple[int, ...]
) -> dict[int, tuple[int, int]]:
    """Channels of student and teacher, by stride, where they differ."""
    widths = (_widths(student), _widths(teacher))
    pairs = {stride: (widths[0][stride], widths[1][stride]) for stride in strides}
    return {stride: pair for stride, pair in pairs.items() if pair[0] != pair[1]}


def _widths(network: DetectionModel) -> dict[int, int]:
    channels: Any = network.neck.channels
    return dict(zip(network.strides, channels, strict=True))


def _branches(network: DetectionModel) -> tuple[str, ...]:
    if isinstance(network.head, EndToEndHead):
        return MANY, ONE
    return (MANY,) if network.needs_nms else (ONE,)


def _obstacle(
    student: DetectionModel, teacher: DetectionModel, strides: tuple[int, ...], branches: tuple[str, ...]
) -> str | None:
    heads: list[Any] = [student.head, teacher.head]
    for whose, head in zip(("student", "teacher"), heads, strict=True):
        if not isinstance(head, DflHead | EndToEndHead | YoloXHead | AnchorHead):
            return f"the {whose}'s head ({type(head).__name__}) is not one of ours"
    of_anchors = [isinstance(head, AnchorHead) for head in heads]
    if of_anchors[0] != of_anchors[1]:
        kinds = ["anchors" if is_so else "cells" for is_so in of_anchors]
        return f"the student's head predicts at {kinds[0]}, the teacher's at {kinds[1]}"
    if all(of_anchors):
        own, theirs = (
            head.anchors[[network.strides.index(stride) for stride in strides]]
            for head, network in zip(heads, (student, teacher), strict=True)
        )
        if own.shape != theirs.shape or not torch.allclose(own, theirs, atol=1e-3):
            return "the heads have other anchors"
    if not branches:
        return "only one of the heads finds each object at one cell"
    return None
