"""Finds the criterion of a head.

Each kind of output has one, under the name that heads give as their ``criterion``.

A criterion is called as ``criterion(output, targets)`` with what its head returns in training and the batch's
:class:`~ghostyolo.data.targets.Targets`. It returns scalars: "loss" to backpropagate, and each of
``criterion.parts``, detached, for logs. It is built from the head itself, whose bins, anchors and strides it needs. One
that changes in the course of training has :meth:`FollowsEpochs.begin_epoch` too.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from functools import cache
from typing import Any, Protocol, TypeVar, runtime_checkable

from torch import Tensor, nn

from ghostyolo.data.targets import Targets
from ghostyolo.errors import ConfigError, suggest


class Criterion(Protocol):
    """What training needs of a criterion.

    Attributes:
        parts: names of the loss parts, in the order they are shown: ``("box", "cls", "dfl")``.
    """

    @property
    def parts(self) -> tuple[str, ...]: ...

    def __call__(self, output: Any, targets: Targets) -> dict[str, Tensor]: ...


def takes_known(criterion: Criterion) -> bool:
    """Whether a criterion leaves out classes that labels do not know.

    See ``Targets.known``.

    It says so itself. One with objectness cannot: what its picture's labels do not know is background to it.
    """
    return bool(getattr(criterion, "takes_known", False))


@runtime_checkable
class FollowsEpochs(Protocol):
    """What a criterion may have that changes in the course of training."""

    def begin_epoch(self, epoch: int, epochs: int, close_mosaic: int) -> None:
        """Prepare for an epoch.

        Called before each one, the first after a resume too; what it sets must follow from these numbers alone.

        Args:
            epoch: the one that begins, from 0.
            epochs: of the whole run.
            close_mosaic: the last so many of them have no mosaic.
        """


Builder = Callable[[Any], Criterion]
T = TypeVar("T", bound=Builder)

_CRITERIA: dict[str, Builder] = {}


def register_criterion(head: str) -> Callable[[T], T]:
    """Register what builds a criterion: called with the head's module.

    Args:
        head: what heads give as their ``criterion``, else their registered name.
    """

    def decorate(builder: T) -> T:
        held = _CRITERIA.get(head)
        if held is not None and held.__qualname__ != builder.__qualname__:  # type: ignore[attr-defined]
            raise ConfigError(f"head '{head}' already has a criterion: {held.__module__}.{held.__qualname__}")  # type: ignore[attr-defined]
        _CRITERIA[head] = builder
        return builder

    return decorate


@cache
def _load() -> None:
    package = importlib.import_module("ghostyolo.losses")
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"ghostyolo.losses.{module.name}")


def build_criterion(head_type: str, head: nn.Module) -> Criterion:
    """Build the criterion of a head.

    Args:
        head_type: its registered name, under which a criterion of its own may stand.
        head: the module.

    Raises:
        ConfigError: no criterion is registered under this name.
    """
    _load()
    name = head_type if head_type in _CRITERIA else getattr(head, "criterion", head_type)
    if name not in _CRITERIA:
        raise ConfigError(f"head '{head_type}' has no criterion, so it cannot be trained: {suggest(name, _CRITERIA)}")
    return _CRITERIA[name](head)
