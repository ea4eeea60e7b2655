"""The losses of a student beside its teacher, on one batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from rich.console import Console
from torch import Tensor, nn

from ghostyolo.losses.cell_predictions import CellOutput, read_cells
from ghostyolo.losses.distil_detector import box_distillation, feature_distillation, score_distillation
from ghostyolo.metadata import ModelMetadata
from ghostyolo.models.detector import DetectionModel
from ghostyolo.models.heads.outputs import EndToEndOutput
from ghostyolo.train.distil.compatibility import Compatibility, adapter_widths, compare
from ghostyolo.train.distil.teacher import DetectionTeacher, find_teacher, read_teacher
from ghostyolo.train.recipe import TrainRecipe
from ghostyolo.train.run_folder import file_digest


class Distiller:
    """A comparison of a student with its teacher.

    It is no module: only the adapters learn, and training holds them apart.

    Args:
        student: tells widths and strides.
        teacher: fits it.
        compatibility: how they are compared.
        weights: of the parts that are on.
        tau: temperature.
        seed: of the adapters' first weights.

    Attributes:
        parts: names of the losses: "kd_logits", "kd_boxes", "kd_features".
        adapters: 1x1 convolutions from the student's widths to the teacher's, where they differ; keys are strides.
    """

    def __init__(
        self,
        student: DetectionModel,
        teacher: DetectionTeacher,
        compatibility: Compatibility,
        weights: dict[str, float],
        tau: float,
        seed: int = 0,
    ) -> None:
        self.teacher, self.compatibility, self.weights, self.tau = teacher, compatibility, weights, tau
        self.parts = tuple(f"kd_{part}" for part in weights)
        self._strides = student.strides, teacher.net.strides
        widths = adapter_widths(student, teacher.net, compatibility.strides) if "features" in weights else {}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.adapters = nn.ModuleDict(
                {str(stride): nn.Conv2d(own, theirs, 1, bias=False) for stride, (own, theirs) in widths.items()}
            )

    def losses(self, images: Tensor, features: Sequence[Tensor], output: Any) -> dict[str, Tensor]:
        """Weighted losses of a batch by the names in :attr:`parts`; not yet x B.

        Args:
            images: what the student saw, (B, C, H, W) of 0 to 1.
            features: the student's, of its neck.
            output: its head's raw predictions.
        """
        taught_features, taught_output = self.teacher.look(images)
        found: dict[str, Tensor] = {}
        if "features" in self.weights:
            found["features"] = self._features(features, taught_features)
        if "logits" in self.weights or "boxes" in self.weights:
            with torch.autocast(images.device.type, enabled=False):
                found |= self._predictions(output, taught_output, images.shape[-2], images.shape[-1])
        return {f"kd_{part}": weight * found[part] for part, weight in self.weights.items()}

    def _features(self, own: Sequence[Tensor], theirs: Sequence[Tensor]) -> Tensor:
        own_maps, their_maps = (
            dict(zip(strides, maps, strict=True)) for strides, maps in zip(self._strides, (own, theirs), strict=True)
        )
        adapted = [
            self.adapters[str(stride)](own_maps[stride]) if str(stride) in self.adapters else own_maps[stride]
            for stride in self.compatibility.strides
        ]
        taught = [their_maps[stride] for stride in self.compatibility.strides]
        with torch.autocast(own[0].device.type, enabled=False):
            return feature_distillation([maps.float() for maps in adapted], [maps.float() for maps in taught], self.tau)

    def _predictions(self, own: Any, theirs: Any, height: int, width: int) -> dict[str, Tensor]:
        """Scores and boxes, each a sum over the branches that both heads have."""
        scores, boxes = [], []
        for branch in self.compatibility.branches:
            views = []
            for output, strides in zip((own, theirs), self._strides, strict=True):
                cells = {stride: (height // stride) * (width // stride) for stride in strides}
                views.append(read_cells(_branch(output, branch), cells, self.compatibility.strides))
            if "logits" in self.weights:
                scores.append(score_distillation(views[0].score_logits, views[1].score_logits, self.tau))
            if "boxes" in self.weights:
                boxes.append(box_distillation(views[0], views[1], self.tau))
        return {part: torch.stack(sums).sum() for part, sums in (("logits", scores), ("boxes", boxes)) if sums}


def build_distiller(
    student: DetectionModel, metadata: ModelMetadata, recipe: TrainRecipe, console: Console
) -> tuple[Distiller | None, str | None]:
    """Read a recipe's teacher and choose what is compared.

    Returns that, and the teacher's file name and hash.

    The first is None where there is no teacher, or all its weights are 0. Says in one line which parts are used.

    Args:
        metadata: of the student: classes, channels and stride.

    Raises:
        ConfigError: a teacher that does not fit the student or the data, or a part that does not.
        WeightsError: a teacher that cannot be found or read.
    """
    if recipe.teacher is None:
        return None, None
    path = find_teacher(recipe.teacher)
    teacher = read_teacher(recipe.teacher, path, metadata, recipe.imgsz)
    digest = f"{path.name} {file_digest(path)}"
    compatibility = compare(student, teacher.net, recipe.teacher)
    wanted = recipe.distil.weights()
    chosen = compatibility.choose(wanted, recipe.distil.by_name, recipe.teacher)
    said = compatibility.describe(chosen, recipe.distil.tau) if chosen else "is not run: all weights of distil are 0"
    console.print(f"teacher {recipe.teacher} {said}", highlight=False, markup=False, soft_wrap=True)
    if not chosen:
        return None, digest
    return Distiller(student, teacher, compatibility, chosen, recipe.distil.tau, recipe.seed), digest


def _branch(output: Any, branch: str) -> CellOutput:
    """One branch's predictions; a head of one branch has no other."""
    return getattr(output, branch) if isinstance(output, EndToEndOutput) else output  # type: ignore[no-any-return]
