"""Checkpoints as other programs write them, of our making: a network of ours under published names."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ghostyolo.integrations.published.families import FAMILIES, Family
from ghostyolo.nn.elan import SppCsp, TinyElan
from ghostyolo.nn.reparam import ConvNorm


def family_of(model: nn.Module) -> Family:
    return next(family for family in FAMILIES if family.parts[0] == model.config.backbone.type)


def their_name(name: str, model: nn.Module, family: Family) -> str:
    """The published name of one of our tensors."""
    parts = name.split(".")
    layers = {ours: theirs for theirs, ours in family.layers.items()}
    count = next(count for count in range(len(parts), 0, -1) if ".".join(parts[:count]) in layers)
    place, theirs = ".".join(parts[:count]), layers[".".join(parts[:count])]
    for part in parts[count:]:
        module = model.get_submodule(place)
        table = next((table for kind, table in family.words.items() if isinstance(module, kind)), {})
        if isinstance(module, nn.Sequential) and not is_separable(module):
            table = {}
        theirs += "." + {ours: word for word, ours in table.items()}.get(part, part)
        place += f".{part}"
    return theirs


def is_separable(module: nn.Sequential) -> bool:
    """Whether it is a depthwise convolution and a 1x1, and no chain of blocks."""
    return isinstance(module[0], ConvNorm) and module[0].conv.groups > 1


def their_tensors(model: nn.Module) -> dict[str, Tensor]:
    """What a published file of this network holds."""
    family = family_of(model)
    tensors = {name: tensor.clone() for name, tensor in model.state_dict().items() if "num_batches" not in name}
    if family.title == "YOLOX":
        stem = "backbone.to_stride8.0.conv.weight"
        kernel = tensors[stem].flip(1) / 255
        tensors[stem] = torch.cat([kernel[:, :, dy::2, dx::2] for dx in (0, 1) for dy in (0, 1)], 1)
    for place, module in model.named_modules():
        parts = {"exit": 4} if isinstance(module, TinyElan) else {}
        parts |= {"squeeze": 4, "exit": 2} if isinstance(module, SppCsp) else {}
        for part, count in parts.items():
            name = f"{place}.{part}.conv.weight"
            tensors[name] = torch.cat(tensors[name].chunk(count, 1)[::-1], 1)
    theirs = {their_name(name, model, family): tensor for name, tensor in tensors.items()}
    if family.anchors:
        theirs[family.anchors] = model.head.anchors / torch.tensor([8.0, 16.0, 32.0]).view(-1, 1, 1)
    return theirs


def names_digest(tensors: Mapping[str, Tensor], family: Family) -> str:
    """A digest of the names and shapes of all tensors that are weights."""
    unused = (*family.unused, ".anchors")
    lines = [f"{name} {tuple(tensor.shape)}" for name, tensor in tensors.items() if not name.endswith(unused)]
    return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()
