"""The published families: whose they are, and how their tensors become ours.

A further family is a further row. Sources: the papers named at our backbones, and the names in the published files.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from ghostyolo.integrations.published import names
from ghostyolo.integrations.published.coco_names import COCO_NAMES
from ghostyolo.integrations.published.names import Words
from ghostyolo.nn.elan import SppCsp, TinyElan

_LEVELS = 3
Tensors = MutableMapping[str, Tensor]


@dataclass(frozen=True)
class Family:
    """A published family of networks.

    Attributes:
        title: as its makers call it.
        parts: our backbone, neck and head, by which a network of ours is known to be of this family.
        published: our names of those that were published.
        maker, licence, url: whose weights they are, and under what terms they are given.
        layers, words: see :func:`names.translated`.
        class_layer: their name of a bias that has a row for each class.
        anchors: their name of the anchors, in strides; empty: none.
        settle: changes tensors that have our names already, where their values are laid out otherwise.
        unused: ends of names of tensors that hold no weights.
        place: where a picture lies on the canvas.
        names_of: the class names of so many classes, where the published files do not say them.
    """

    title: str
    parts: tuple[str, str, str]
    published: tuple[str, ...]
    maker: str
    licence: str
    url: str
    layers: Mapping[str, str]
    words: Words
    class_layer: str
    anchors: str = ""
    settle: Callable[[Tensors, nn.Module], None] = lambda tensors, model: None
    unused: tuple[str, ...] = ("num_batches_tracked",)
    place: Literal["centre", "corner"] = "centre"
    names_of: Callable[[int], list[str] | None] = lambda count: None

    def count_classes(self, tensors: Mapping[str, Tensor]) -> int | None:
        """Return the number of classes; None where the layer is not there."""
        rows = tensors.get(self.class_layer)
        if rows is None:
            return None
        if not self.anchors:
            return len(rows)
        anchors = tensors.get(self.anchors)
        if anchors is None or anchors.ndim != 3 or len(anchors) != _LEVELS or not anchors.shape[1]:
            return None
        return len(rows) // anchors.shape[1] - 5


_STEM = "backbone.to_stride8.0"


def _settle_yolox(tensors: Tensors, model: nn.Module) -> None:
    """Their stem takes BGR of 0 to 255 with 2 x 2 pixels as channels; ours RGB of 0 to 1, a 6 x 6 convolution.

    The factor 255 makes kernels that no optimiser's rate was meant for; the norm behind takes it instead, so that its
    own input has the variance 1.
    """
    theirs = tensors.get(f"{_STEM}.conv.weight")
    if theirs is None or theirs.ndim != 4 or theirs.shape[1:] != (12, 3, 3):
        return  # said as a layer that does not fit
    kernel = theirs.new_zeros(len(theirs), 3, 6, 6)
    for group in range(4):  # row and column (0, 0), (1, 0), (0, 1), (1, 1) of the square
        kernel[:, :, group % 2 :: 2, group // 2 :: 2] = theirs[:, 3 * group : 3 * group + 3]
    kernel = kernel.flip(1) * 255
    mean, variance = (tensors.get(f"{_STEM}.norm.running_{name}") for name in ("mean", "var"))
    if mean is not None and variance is not None:
        norm = model.get_submodule(f"{_STEM}.norm")
        assert isinstance(norm, nn.BatchNorm2d)
        eps = norm.eps
        deviation = (variance.double() + eps).sqrt()
        kernel = (kernel.double() / deviation.view(-1, 1, 1, 1)).float()
        tensors[f"{_STEM}.norm.running_mean"] = (mean.double() / deviation).float()
        tensors[f"{_STEM}.norm.running_var"] = torch.full_like(variance, 1 - eps)
    tensors[f"{_STEM}.conv.weight"] = kernel


def _settle_yolov7(tensors: Tensors, model: nn.Module) -> None:
    """They put the parts of some maps together the other way round; implicit knowledge is a factor and a sum."""
    for place, module in model.named_modules():
        parts = {"exit": 4} if isinstance(module, TinyElan) else {}
        parts |= {"squeeze": 4, "exit": 2} if isinstance(module, SppCsp) else {}
        for part, count in parts.items():
            name = f"{place}.{part}.conv.weight"
            if name in tensors:
                tensors[name] = torch.cat(tensors[name].chunk(count, 1)[::-1], 1)
    for level in range(3):
        place = f"head.predict.{level}"
        added, factor = (tensors.pop(f"head.{name}.{level}.implicit", None) for name in ("ia", "im"))
        if added is not None and factor is not None:
            weight, bias = tensors[f"{place}.weight"], tensors[f"{place}.bias"]
            bias = bias + (weight * added).sum((1, 2, 3))
            tensors[f"{place}.weight"] = weight * factor.view(-1, 1, 1, 1)
            tensors[f"{place}.bias"] = bias * factor.flatten()


def _coco_names(count: int) -> list[str] | None:
    """The published files are of COCO, and do not say so."""
    return COCO_NAMES if count == len(COCO_NAMES) else None


_UNUSED = ("num_batches_tracked", ".dfl.conv.weight", ".anchors", ".anchor_grid")
FAMILIES = (
    Family(
        "YOLOv5", ("yolov5", "yolov5_pafpn", "anchor"), tuple(f"yolov5{letter}" for letter in "nsmlx"),
        "Ultralytics", "AGPL-3.0", "https://github.com/ultralytics/yolov5",
        names.YOLOV5, names.ULTRALYTICS_WORDS, "model.24.m.0.bias", "model.24.anchors", unused=_UNUSED,
    ),
    Family(
        "YOLOv7", ("yolov7", "yolov7_elan", "anchor"), ("yolov7-tiny",),
        "Chien-Yao Wang", "GPL-3.0", "https://github.com/WongKinYiu/yolov7",
        names.YOLOV7_TINY, names.ULTRALYTICS_WORDS, "model.77.m.0.bias", "model.77.anchors", _settle_yolov7, _UNUSED,
    ),
    Family(
        "YOLOv8", ("yolov8", "yolov8_pafpn", "dfl"), tuple(f"yolov8{letter}" for letter in "nsmlx"),
        "Ultralytics", "AGPL-3.0", "https://github.com/ultralytics/ultralytics",
        names.YOLOV8, names.ULTRALYTICS_WORDS, "model.22.cv3.0.2.bias", unused=_UNUSED,
    ),
    Family(
        "YOLOv13", ("yolov13", "hyperace_fullpad", "dfl"), tuple(f"yolov13{letter}" for letter in "nslx"),
        "iMoonLab", "AGPL-3.0", "https://github.com/iMoonLab/yolov13",
        names.YOLOV13, names.ULTRALYTICS_WORDS, "model.32.cv3.0.2.bias", unused=_UNUSED,
    ),
    Family(
        "YOLOX", ("yolox", "yolox_pafpn", "yolox"), tuple(f"yolox-{size}" for size in ("nano", "tiny", *"smlx")),
        "Megvii", "Apache-2.0", "https://github.com/Megvii-BaseDetection/YOLOX",
        names.YOLOX, names.YOLOX_WORDS, "head.cls_preds.0.bias", settle=_settle_yolox, place="corner",
        names_of=_coco_names,
    ),
)  # fmt: skip
