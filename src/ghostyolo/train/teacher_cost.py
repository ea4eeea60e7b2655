"""What a teacher costs, in one line: parameters, multiply-accumulates of one picture, share of a training step."""

from __future__ import annotations

from torch import nn

from ghostyolo.models.count import count_parameters, try_count_macs


def describe_cost(name: str, net: nn.Module, imgsz: int, channels: int) -> str:
    """``teacher NAME: 2.45 M parameters, 3,210.5 M MACs a picture``; without MACs where they cannot be counted.

    Args:
        imgsz: side of the pictures that it sees, pixels.
    """
    cost = f"teacher {name}: {count_parameters(net) / 1e6:.2f} M parameters"
    macs = try_count_macs(net, imgsz, channels)
    if macs is None:
        return cost
    figure = f"{macs / 1e9:.2f} G" if macs >= 1e9 else f"{macs / 1e6:,.1f} M"
    return f"{cost}, {figure} MACs a picture of {imgsz} x {imgsz}"
