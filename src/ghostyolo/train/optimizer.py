"""SGD or AdamW over weights, norms and biases."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from ghostyolo.train.schedule import Schedule


def group_parameters(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Split trainable parameters into "weight" (two or more dimensions, decayed), "norm" (others) and "bias".

    Biases are apart since their learning rate starts high. A group without parameters is left out.
    """
    groups: dict[str, list[nn.Parameter]] = {"weight": [], "norm": [], "bias": []}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        if name.endswith("bias"):
            groups["bias"].append(parameter)
        else:
            groups["weight" if parameter.ndim > 1 else "norm"].append(parameter)
    return [
        {"params": parameters, "name": name, "weight_decay": weight_decay if name == "weight" else 0.0}
        for name, parameters in groups.items()
        if parameters
    ]


def build_optimizer(model: nn.Module, schedule: Schedule, fused: bool) -> torch.optim.Optimizer:
    """Make the optimiser.

    The training module sets learning rate and momentum before each step.

    Args:
        fused: one kernel for all parameters; the same rule, much less overhead.
    """
    groups = group_parameters(model, schedule.weight_decay)
    if schedule.optimizer == "sgd":
        # Nesterov wants a momentum above 0, which warm-up may start from.
        nesterov = schedule.momentum > 0
        return torch.optim.SGD(groups, schedule.peak_lr, schedule.momentum, nesterov=nesterov, fused=fused)
    return torch.optim.AdamW(groups, schedule.peak_lr, betas=(schedule.momentum, 0.999), fused=fused)
