"""The detector that another one learns from: read, checked, frozen, folded, in evaluation."""

from __future__ import annotations

import copy
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ghostyolo.errors import ConfigError, short_list
from ghostyolo.metadata import ModelMetadata, check_imgsz
from ghostyolo.models.detector import DetectionModel
from ghostyolo.models.heads.end2end import EndToEndHead
from ghostyolo.models.weights import is_classifier, load_checkpoint, read_checkpoint
from ghostyolo.nn.reparam import fold
from ghostyolo.runtime.weights import resolve_weights


class DetectionTeacher:
    """A frozen detector that gives feature maps and raw predictions.

    It is no module, so that no average, optimiser, DDP or checkpoint takes it in.

    Args:
        name: as it was given.
        network: it is left as it is; a folded copy teaches.

    Attributes:
        net: the copy. Its head's training branches stay, which folding would drop, since they teach.
        timed: whether each run is timed, for which a GPU has to be waited for.
        seconds: that timed runs took.
    """

    def __init__(self, name: str, network: DetectionModel) -> None:
        self.name, self.timed, self.seconds = name, False, 0.0
        self.net = _folded(network).eval().requires_grad_(False)

    def to(self, device: torch.device, channels_last: bool = False) -> None:
        """Move it."""
        self.net.to(device)
        if channels_last:
            self.net.to(memory_format=torch.channels_last)

    @torch.no_grad()
    def look(self, images: Tensor) -> tuple[list[Tensor], Any]:
        """Give the neck's feature maps and the head's raw predictions.

        The student's mixed precision does not apply.

        Args:
            images: (B, C, H, W) of 0 to 1; it normalises them itself.
        """
        begun = self._clock(images.device)
        with torch.autocast(images.device.type, enabled=False):
            features = self.net.features(images.to(next(self.net.parameters()).dtype))
            output = self.net.head.collect(features)
        if self.timed:
            self.seconds += self._clock(images.device) - begun
        return features, output

    def _clock(self, device: torch.device) -> float:
        if self.timed and device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter()


def find_teacher(source: str) -> Path:
    """The checkpoint that a name, a path or a Hugging Face address stands for.

    Raises:
        ConfigError: it is an exported model.
        WeightsError: it leads nowhere, or to a pickle.
    """
    path = resolve_weights(source, suffixes=(".safetensors",))
    if path.suffix != ".safetensors":
        raise ConfigError(
            f"teacher {source} is an exported model, whose raw predictions are gone: give the .safetensors that it was "
            "made from; with an exported one, ghostyolo pseudo-label labels pictures to train on"
        )
    return path


def read_teacher(source: str, path: Path, student: ModelMetadata, imgsz: int) -> DetectionTeacher:
    """The teacher in a checkpoint, checked against the student and its pictures.

    Args:
        source: what the user called it.
        student: its classes, channels and stride.
        imgsz: side of the training pictures, pixels.

    Raises:
        ConfigError: a classifier, or a detector of other classes, channels or picture sizes.
        WeightsError: the file is damaged or not ours.
    """
    _, metadata = read_checkpoint(path)
    if is_classifier(metadata):
        raise ConfigError(
            f"teacher {source} is a classifier: give a detector's .safetensors (a classifier teaches in pretrain)"
        )
    if metadata.class_names != student.class_names:
        same = sorted(metadata.class_names) == sorted(student.class_names)
        order = " (the same in another order)" if same else ""
        raise ConfigError(
            f"teacher {source} has classes {short_list(metadata.class_names)}, the data "
            f"{short_list(student.class_names)}{order}: give one that was trained on this data's classes"
        )
    if metadata.in_channels != student.in_channels:
        raise ConfigError(
            f"teacher {source} takes pictures of {metadata.in_channels} channels, the student {student.in_channels}: "
            f"give another one, or set channels={metadata.in_channels}"
        )
    network, _ = load_checkpoint(path)
    check_imgsz(imgsz, network.stride, f", as the teacher {source} needs")
    return DetectionTeacher(source, network)


def _folded(network: DetectionModel) -> DetectionModel:
    folded: Any = fold(network)
    if isinstance(network.head, EndToEndHead):
        head: Any = copy.deepcopy(network.head)
        head.one_to_many, head.one_to_one = fold(head.one_to_many), fold(head.one_to_one)
        folded.head = head
    return folded  # type: ignore[no-any-return]
