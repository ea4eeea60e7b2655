"""The sum of a container's branches in training, only faster.

Nothing here changes what a network computes.

Without this folder every container would sum its branches one by one, which is what :func:`sum_at_once` is measured
against. ``choice`` says which way pays where; ``merged`` is the sum as one convolution, with the moments of 1x1
(``pointwise``), depthwise 3x3 (``depthwise``) and dense (``dense``) patches; ``strided`` is for depthwise halvings.
"""

from __future__ import annotations

from ghostyolo.nn.reparam.fast_sum.choice import one_by_one, sum_at_once

__all__ = ["one_by_one", "sum_at_once"]
