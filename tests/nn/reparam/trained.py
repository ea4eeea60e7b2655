"""Networks with the numbers of trained ones, and what folding must hold of them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


def randomise(model: nn.Module, seed: int = 0) -> nn.Module:
    """Batch norm weights and statistics of no special value; evaluation mode, float64."""
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        for name, low, high in (
            ("weight", 0.5, 1.5),
            ("bias", -0.5, 0.5),
            ("running_mean", -0.5, 0.5),
            ("running_var", 0.3, 2.0),
        ):
            tensor = getattr(module, name, None)
            if getattr(module, "running_var", None) is not None and tensor is not None:
                tensor.data.uniform_(low, high, generator=generator)
    return model.double().eval()


def flat(outputs: Any) -> list[Tensor]:
    """The tensors of a network's outputs: a tensor, or lists and dictionaries (or what has ``values()``) of them."""
    if isinstance(outputs, Tensor):
        return [outputs]
    items = outputs.values() if hasattr(outputs, "values") else outputs
    return [tensor for item in items for tensor in flat(item)]


def assert_same(actual: Any, expected: Any, tolerance: float = 1e-9) -> None:
    """Equal to ``tolerance`` of the largest value of each output tensor."""
    pairs = list(zip(flat(actual), flat(expected), strict=True))
    assert pairs
    for one, other in pairs:
        torch.testing.assert_close(one, other, rtol=0, atol=tolerance * max(1.0, float(other.detach().abs().max())))


def norms_in(model: nn.Module) -> list[str]:
    """Names of the modules with running statistics."""
    return [name for name, module in model.named_modules() if getattr(module, "running_var", None) is not None]


def ramp_loss(output: Tensor) -> Tensor:
    """Distance from a ramp over all values: one that a batch norm at the end does not make constant."""
    return (output - torch.linspace(-1, 1, output.numel()).to(output).reshape(output.shape)).square().mean()


def train_steps(model: nn.Module, image: Tensor, steps: int = 3, lr: float = 1e-2) -> nn.Module:
    """A few steps of SGD towards a ramp, which move every weight and statistic; evaluation mode after."""
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=lr, momentum=0.9)
    model.train()
    for _ in range(steps):
        optimizer.zero_grad()
        sum(ramp_loss(output) for output in flat(model(image))).backward()
        optimizer.step()
    return model.eval()
