"""Structural re-parameterization: several branches in training, one convolution on the device.

Sources: RepVGG (arXiv 2101.03697, section 3.3) for the mathematics, MobileOne (2206.04040) and GhostNetV3 (2404.11202,
section 3.2) for N parallel branches.

A convolution followed by a batch norm in evaluation is a convolution::

    gamma (W * x - mean) / sqrt(var + eps) + beta  =  (gamma / std) W * x  +  (beta - gamma mean / std)

and the sum of convolutions with one stride, grouping and padding is a convolution with the summed kernels. A 1x1 branch
is a k x k kernel with zeros around its centre, an identity branch a kernel with a one there.

====================  ==========================================================================================
``norms``, ``convs``  which modules are a plain batch norm or convolution, and how one goes into the other
``container``         :class:`ConvNorm` and :class:`RepConv`, the units of the networks here
``fast_sum``            the sum of a container's branches in training, only faster
``pairs``             which batch norm takes which convolution's output, in any network
``folding``           :func:`fold` and :func:`is_folded`
``add``               :func:`add_branches`
``refit``             :func:`refit_branches`, weights into another number of branches
====================  ==========================================================================================
"""

from __future__ import annotations

from ghostyolo.nn.reparam.add import add_branches
from ghostyolo.nn.reparam.container import Activation, ConvNorm, RepConv
from ghostyolo.nn.reparam.convs import Pair, plain_conv
from ghostyolo.nn.reparam.folding import fold, is_folded
from ghostyolo.nn.reparam.norms import fold_batch_norm
from ghostyolo.nn.reparam.refit import refit_branches

__all__ = [
    "Activation",
    "ConvNorm",
    "Pair",
    "RepConv",
    "add_branches",
    "fold",
    "fold_batch_norm",
    "is_folded",
    "plain_conv",
    "refit_branches",
]
