"""What the tests of passes share: small random networks in float64, captured, and compared after a pass."""

from __future__ import annotations

from collections import Counter
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import GraphModule

from ghostyolo.export.rewrite.plain import plain
from ghostyolo.export.rewrite.program import as_module, as_program, capture


def randomised(model: nn.Module, seed: int = 0) -> nn.Module:
    """In float64 and evaluation mode, every parameter and statistic drawn anew."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, values in [*model.named_parameters(), *model.named_buffers()]:
            if values.dtype.is_floating_point:
                drawn = torch.rand(values.shape, generator=generator)
                values.copy_(drawn + 0.5 if name.endswith("running_var") else drawn - 0.5)
    return model.double().eval()


def noise(*shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64) - 0.5


def captured(model: nn.Module, images: Tensor, dynamic_shapes: Any = None) -> GraphModule:
    """As the passes are given it."""
    return plain(as_module(capture(model, images, dynamic_shapes)))[0]


def largest_difference(model: nn.Module, module: nn.Module, images: Tensor) -> float:
    with torch.no_grad():
        expected, found = model(images), module(images)
    if isinstance(expected, Tensor):
        expected, found = [expected], found if isinstance(found, tuple) else [found]
    return max(float((one - other).abs().max()) for one, other in zip(expected, found, strict=True))


def operators(module: GraphModule) -> Counter[str]:
    """How often each operator is called, by its short name."""
    return Counter(str(node.target).split(".")[1] for node in module.graph.nodes if node.op == "call_function")


def round_trip(model: nn.Module, module: GraphModule, images: Tensor) -> float:
    """The difference after the module has become a program again."""
    return largest_difference(model, as_program(module, capture(model, images)).module(), images)
