"""Begins from the weights of another task.

All that fits is kept, a class's own rows where the names agree.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ghostyolo.models.detector import DetectionModel, build_model
from ghostyolo.models.weights import NOT_STORED
from ghostyolo.nn.reparam import refit_branches


@dataclass(frozen=True)
class Adopted:
    """What a network kept of weights.

    Attributes:
        kept, total: tensors that were taken, and those that the network has.
        classes: those whose rows were kept.
        colours: the first convolution was fitted to another number of channels.
    """

    kept: int
    total: int
    classes: list[str]
    colours: bool

    def __str__(self) -> str:
        names = ", ".join(self.classes) if len(self.classes) <= 8 else f"{len(self.classes)} classes"
        classes = f", with the rows of {names}" if self.classes else ""
        colours = ", the first convolution fitted to the channels" if self.colours else ""
        return f"{self.kept} of {self.total} tensors kept{classes}{colours}"


def adopt_weights(
    model: DetectionModel, class_names: Sequence[str], tensors: Mapping[str, Tensor], their_names: Sequence[str]
) -> Adopted:
    """Copy into ``model`` what fits of ``tensors``, in place.

    Training branches are brought to the network's number. A class's rows are kept where a name agrees: ``car`` is also
    ``highway:car``, and case does not count. A first convolution of other channels gets the others' in turn, scaled so
    that a grey picture gives what it gave.

    Args:
        model: for ``class_names``.
        tensors: of a network for ``their_names``, of any branches and channels.
    """
    own = model.state_dict()
    class_layers = _class_layers(model, len(class_names))
    places = _places(class_names, their_names)
    taken: dict[str, Tensor] = {}
    colours = False
    for name, value in refit_branches(tensors, model)[0].items():
        mine = own.get(name)
        if mine is None:
            continue
        if name in class_layers:
            if len(value) == len(their_names) and value.shape[1:] == mine.shape[1:]:
                rows = mine.clone()
                for place, theirs in places.items():
                    rows[place] = value[theirs]
                taken[name] = rows
        elif value.shape == mine.shape:
            taken[name] = value
        elif _is_first_conv(value, mine, model.in_channels):
            taken[name] = _of_channels(value, mine.shape[1])
            colours = True
    model.load_state_dict(taken, strict=False)
    stored = [name for name in own if not name.endswith(NOT_STORED)]
    kept = [name for name in stored if name in taken and (places or name not in class_layers)]
    classes = [class_names[place] for place in places] if class_layers & taken.keys() else []
    return Adopted(len(kept), len(stored), classes, colours)


def _places(class_names: Sequence[str], their_names: Sequence[str]) -> dict[int, int]:
    """Of each class that they name alike, its place in theirs; the first where several do."""
    theirs: dict[str, int] = {}
    for place, name in enumerate(their_names):
        theirs.setdefault(_plain(name), place)
    for place, name in enumerate(their_names):  # the very same name comes first
        theirs[name] = place
    found = ((place, theirs.get(name, theirs.get(_plain(name)))) for place, name in enumerate(class_names))
    return {place: their for place, their in found if their is not None}


def _plain(name: str) -> str:
    return name.rpartition(":")[2].strip().casefold()


def _class_layers(model: DetectionModel, classes: int) -> set[str]:
    """Tensors that have a row for each class: those that grow by one with one class more."""
    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        larger = build_model(model.config, num_classes=classes + 1, in_channels=model.in_channels).state_dict()
    return {
        name
        for name, value in model.state_dict().items()
        if value.ndim and len(value) == classes and len(larger[name]) == classes + 1 and _has_bias(model, name)
    }


def _has_bias(model: nn.Module, name: str) -> bool:
    """Whether a tensor is of a last layer: a convolution with a bias has no norm behind it."""
    module = model.get_submodule(name.rpartition(".")[0])
    return isinstance(module, nn.Conv2d) and module.bias is not None


def _of_channels(weight: Tensor, count: int) -> Tensor:
    """A first convolution's weight for so many channels: theirs in turn, or of fewer the mean, with an equal sum."""
    theirs = weight.shape[1]
    if count < theirs:
        return weight.sum(1, keepdim=True).expand(-1, count, -1, -1) / count
    channels = torch.arange(count) % theirs
    return weight[:, channels] / channels.bincount()[channels].view(1, -1, 1, 1)


def _is_first_conv(theirs: Tensor, mine: Tensor, in_channels: int) -> bool:
    shapes = (theirs.shape, mine.shape)
    return (
        theirs.ndim == 4
        and shapes[0][0] == shapes[1][0]
        and shapes[0][2:] == shapes[1][2:]
        and (theirs.shape[1] in (1, 3) and mine.shape[1] == in_channels)
    )
