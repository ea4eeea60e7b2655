"""The rank of values within groups.

It says which pairs of an assignment are the best of their object or anchor.
"""

from __future__ import annotations

import torch
from torch import Tensor


def rank_in_group(group: Tensor, values: Tensor) -> Tensor:
    """Rank each value among those of its group, from 0.

    Smallest first, of equals the earlier.

    Args:
        group: (P,) int64.
        values: (P,).

    Returns:
        (P,) int64.
    """
    order = values.argsort(stable=True)
    order = order[group[order].argsort(stable=True)]
    sorted_group = group[order]
    start = torch.searchsorted(sorted_group, sorted_group)
    rank = torch.empty_like(order)
    rank[order] = torch.arange(len(order), device=order.device) - start
    return rank
