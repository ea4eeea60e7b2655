"""Reads a published YOLOX in ONNX, and compares its answers with our network's.

An ONNX file has its convolutions in the order in which they run, with the norms folded into them and most names lost.
Ours have an order too, so each is known by its place and its shape; what the file answers to a picture is the proof.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from ghostyolo.errors import WeightsError, short
from ghostyolo.models.detector import DetectionModel

# The parts of our network in the order in which theirs run; inside a part ours are declared in that order.
_BODY = [
    *(f"backbone.to_stride{stride}" for stride in (8, 16, 32)),
    *(f"neck.{part}" for part in ("lateral5", "down4", "lateral4", "down3", "stride3", "up4", "stride4", "up5")),
]
_LEVEL = ("stem", "cls_tower", "cls", "box_tower", "box", "obj")
_CLASS_LAYER = "head.cls.0"
_TOLERANCE = 1e-4  # of the largest value


def read_convolutions(path: Path, network: nn.Module) -> dict[str, Tensor]:
    """Tensors by our names, for a network of any number of classes.

    Raises:
        WeightsError: damaged, or other convolutions than the network has.
    """
    import onnx
    from onnx import numpy_helper

    try:
        graph = onnx.load(str(path)).graph
    except Exception as error:  # protobuf's and onnx' own errors share no base class but this
        raise WeightsError(f"{path} is damaged or no ONNX file: {short(error)}") from error
    values = {tensor.name: tensor for tensor in graph.initializer}
    nodes = [node for node in graph.node if node.op_type == "Conv"]
    places = _places(network)
    if len(nodes) != len(places):
        raise WeightsError(f"{path} has {len(nodes)} convolutions, and the network {len(places)}")
    tensors: dict[str, Tensor] = {}
    for place, node in zip(places, nodes, strict=True):
        for kind, name in zip(("weight", "bias"), node.input[1:], strict=False):
            if name not in values:
                raise WeightsError(f"{path}: convolution '{node.name}' has no {kind} of its own: is it quantised?")
            array = numpy_helper.to_array(values[name]).astype(np.float32)
            tensors[f"{place}.{kind}"] = torch.from_numpy(array.copy())
    return tensors


def count_classes(tensors: dict[str, Tensor]) -> int:
    """Return how many classes the convolutions are for."""
    return len(tensors[f"{_CLASS_LAYER}.weight"])


def _places(network: nn.Module) -> list[str]:
    parts = _BODY + [f"head.{part}.{level}" for level in range(3) for part in _LEVEL]
    return [
        f"{part}.{name}".rstrip(".")
        for part in parts
        for name, module in network.get_submodule(part).named_modules()
        if isinstance(module, nn.Conv2d)
    ]


@torch.no_grad()
def check_answers(path: Path, network: DetectionModel, picture: Tensor) -> None:
    """Compare what file and network answer to a picture.

    Args:
        picture: (3, H, W) of 0 to 1, RGB.

    Raises:
        WeightsError: the file cannot be run, or answers something else.
    """
    import onnxruntime

    try:
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        port = session.get_inputs()[0]
        sides = [side if isinstance(side, int) else network.stride * 10 for side in port.shape[2:]]
        image = nn.functional.interpolate(picture[None], size=cast(Any, sides))
        theirs = session.run(None, {port.name: (image.flip(1) * 255).numpy()})[0]
    except Exception as error:  # the runtime's own errors share no base class but this
        raise WeightsError(f"{path} cannot be run: {short(error)}") from error
    network.eval()
    output: Any = network.head.collect(network.features(image))  # type: ignore[operator]
    ours = torch.cat(
        (output.box_offsets, output.obj_logits.sigmoid()[..., None], output.cls_logits.sigmoid()), -1
    ).numpy()
    decoded, _ = network.head.decode(output)  # type: ignore[operator]
    corners = decoded.numpy()
    middles = np.concatenate(((corners[..., :2] + corners[..., 2:]) / 2, corners[..., 2:] - corners[..., :2]), -1)
    for answer in (ours, np.concatenate((middles, ours[..., 4:]), -1)):
        if (
            answer.shape == theirs.shape
            and _equal(answer[..., :4], theirs[..., :4])
            and _equal(answer[..., 4:], theirs[..., 4:])
        ):
            return
    raise WeightsError(f"{path} answers something else than the network with its weights: it is of another kind")


def _equal(ours: np.ndarray[Any, Any], theirs: np.ndarray[Any, Any]) -> bool:
    return bool(np.abs(ours - theirs).max() <= _TOLERANCE * max(1.0, float(np.abs(theirs).max())))
