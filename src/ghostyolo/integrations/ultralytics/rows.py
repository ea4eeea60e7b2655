"""Rows of a YAML that name our layers.

Which there are, and how one is read before anything is built.

A row is ``[from, repeats, ghostyolo.NAME, [what, {parameter: value}]]``. ``what`` is the output channels before
scaling, a backbone's registered name, or a level's stride; layers that keep their channels have none. A value may be a
table by scale letter: ``{n: false, s: false, l: true}``. ``NAME`` is a key of :data:`KINDS`, whose builders are called
as ``builder(in_channels, out_channels, **parameters)``, with ``in_channels`` a tuple where a layer reads several maps;
maps are (B, C, H, W).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from ghostyolo.errors import ConfigError, suggest
from ghostyolo.models.registry import Part, build_part, find_part, scale_params
from ghostyolo.models.scales import LETTERS
from ghostyolo.nn.attention import GATES, DfcGate, PsaGate
from ghostyolo.nn.blocks import A2C2f, Conv, DSC3k2, DSConv
from ghostyolo.nn.channels import make_divisible, scale_channels, scale_repeats
from ghostyolo.nn.ghost import GhostBottleneck, GhostModule
from ghostyolo.nn.hypergraph import HyperAce, Tunnel


@dataclass(frozen=True)
class Kind:
    """How a row of this name is read.

    Attributes:
        builder: see this module.
        inputs: maps that the layer reads.
        keeps_channels: it gives as many as it reads, so that the row has none to say.
        repeats: the row's repeats, scaled by depth, are the builder's parameter ``repeats``.
        spread: see :class:`~ghostyolo.integrations.ultralytics.layer.Layer`.
        modern: as with that package's C3k2, a Detect after it has the light class branch of YOLO11 and later.
    """

    builder: Callable[..., nn.Module]
    inputs: int = 1
    keeps_channels: bool = False
    repeats: bool = False
    spread: bool = False
    modern: bool = False


class SelfGate(nn.Module):
    """A Ghost module's gate as a layer that weights its own input."""

    def __init__(self, gate: nn.Module) -> None:
        super().__init__()
        self.gate = gate

    def forward(self, x: Tensor) -> Tensor:
        return self.gate(x, x)


def _dfc(in_channels: int, out_channels: int) -> nn.Module:
    return SelfGate(DfcGate(in_channels, out_channels))


def _psa(in_channels: int, out_channels: int) -> nn.Module:
    return SelfGate(PsaGate(in_channels, out_channels))


def _ghost_module(
    in_channels: int, out_channels: int, cheap_kernel: int = 3, attention: str = "none", branches: int | None = None
) -> nn.Module:
    return GhostModule(in_channels, out_channels, cheap_kernel, attention=attention, branches=branches)


def _ghost_bottleneck(
    in_channels: int,
    out_channels: int,
    expansion: float = 3.0,
    kernel: int = 3,
    stride: int = 1,
    squeeze_excite: bool = False,
    attention: str = "none",
    branches: int | None = None,
) -> nn.Module:
    """Expanded channels are ``expansion`` times the input's, a multiple of 4."""
    expanded = make_divisible(expansion * in_channels, 4)
    return GhostBottleneck(in_channels, expanded, out_channels, kernel, stride, squeeze_excite, attention, branches)


def _fit(in_channels: int, out_channels: int) -> nn.Module:
    """A 1x1 convolution to a width; nothing where the map has it already."""
    return nn.Identity() if in_channels == out_channels else Conv(in_channels, out_channels)


def _tunnel(in_channels: tuple[int, int], out_channels: int) -> nn.Module:
    if in_channels[0] != in_channels[1]:
        raise ConfigError(f"a tunnel adds maps of one width, got {in_channels[0]} and {in_channels[1]} channels")
    return Tunnel()


KINDS = {
    "GhostModule": Kind(_ghost_module),
    "GhostBottleneck": Kind(_ghost_bottleneck),
    "DFC": Kind(_dfc, keeps_channels=True),
    "PSA": Kind(_psa, keeps_channels=True),
    "DSConv": Kind(DSConv),
    "DSC3k2": Kind(DSC3k2, repeats=True, modern=True),
    "A2C2f": Kind(A2C2f, repeats=True, modern=True),
    "Fit": Kind(_fit),
    "HyperACE": Kind(HyperAce, inputs=3, repeats=True),
    "Tunnel": Kind(_tunnel, inputs=2, keeps_channels=True, spread=True),
}
BACKBONE, LEVEL = "Backbone", "Level"
NAMES = (BACKBONE, LEVEL, *KINDS)


PREFIX = "ghostyolo."
_GIVEN = {"in_channels", "out_channels", "repeats"}


@dataclass(frozen=True)
class Size:
    """What a YAML's scale means.

    A letter (empty without ``scales``), and factors as that package applies them.
    """

    letter: str = ""
    depth: float = 1.0
    width: float = 1.0
    max_channels: int = sys.maxsize

    @classmethod
    def of(cls, declaration: Mapping[str, Any]) -> Size:
        """Return the size of a declaration.

        Without a letter in its file's name it is the first of its scales.

        Raises:
            ConfigError: a letter that is not among its scales.
        """
        scales = declaration.get("scales")
        if not scales:
            return cls("", declaration.get("depth_multiple", 1.0), declaration.get("width_multiple", 1.0))
        letter = declaration.get("scale") or next(iter(scales))
        if letter not in scales:
            raise ConfigError(f"this model has no scale '{letter}', only {', '.join(scales)}")
        return cls(letter, *scales[letter])


@dataclass(frozen=True)
class Row:
    """One checked row of ours.

    Attributes:
        where: for messages, such as ``"row 4 (ghostyolo.HyperACE)"``.
        name: without the prefix.
        inputs: rows it reads.
        repeats: scaled by depth.
        what: the first of its arguments, None where it has none.
        params: its parameters at this scale.
    """

    where: str
    name: str
    inputs: tuple[int, ...]
    repeats: int
    what: Any
    params: dict[str, Any]

    @property
    def kind(self) -> Kind:
        return KINDS[self.name]

    def build(self, in_channels: Sequence[int], out_channels: int) -> nn.Module:
        """The module of a row that is neither backbone nor level."""
        kind = self.kind
        repeats = {"repeats": self.repeats} if kind.repeats else {}
        given = in_channels[0] if kind.inputs == 1 else tuple(in_channels)
        try:
            return kind.builder(given, out_channels, **repeats, **self.params)
        except ConfigError as error:
            raise ConfigError(f"{self.where}: {error}") from error


def is_ours(row: Sequence[Any]) -> bool:
    """Whether a row names a layer of ours."""
    return str(row[2]).startswith(PREFIX)


def read_row(index: int, row: Sequence[Any], size: Size) -> Row:
    """Check one row.

    Raises:
        ConfigError: an unknown layer or parameter, a value missing at this scale, or arguments of the wrong form.
    """
    source, repeats, full_name, arguments = row
    where = f"row {index} ({full_name})"
    name = full_name.removeprefix(PREFIX)
    if name not in NAMES:
        raise ConfigError(f"{where}: unknown layer: {suggest(name, NAMES)}")
    what, given = _split(where, name, list(arguments))
    params = {key: _at_scale(where, key, value, size) for key, value in given.items()}
    if name == BACKBONE and size.letter in LETTERS:
        # What the scale stands for in our own detectors, unless the row says otherwise.
        params = {**scale_params("backbone", what, size.letter), **params}
    _check_params(where, params, accepted_parameters(name, what))
    inputs = (source,) if isinstance(source, int) else tuple(source)
    kind = KINDS.get(name)
    wanted = kind.inputs if kind else 1
    if len(inputs) != wanted:
        raise ConfigError(f"{where}: reads {wanted} {'row' if wanted == 1 else 'rows'}, got {source}")
    if index > 0 and not all(-index <= k < index for k in inputs):
        raise ConfigError(f"{where}: reads rows before it, got {source}")
    if repeats != 1 and not (kind and kind.repeats):
        raise ConfigError(f"{where}: cannot be repeated: write the row {repeats} times")
    return Row(where, name, inputs, scale_repeats(repeats, size.depth) if repeats > 1 else repeats, what, params)


def accepted_parameters(name: str, what: Any) -> set[str]:
    """Parameters that a row of this name can have."""
    if name == LEVEL:
        return set()
    part = find_part("backbone", what) if name == BACKBONE else Part(KINDS[name].builder, {})
    return set(part.parameters) - _GIVEN


def _check_params(where: str, params: Mapping[str, Any], accepted: set[str]) -> None:
    for key in params:
        if key not in accepted:
            hint = suggest(key, accepted) if accepted else "it has none"
            raise ConfigError(f"{where}: no parameter '{key}': {hint}")
    attention = params.get("attention", "none")
    if attention not in GATES:
        raise ConfigError(f"{where}: unknown attention '{attention}': {suggest(str(attention), GATES)}")


def _split(where: str, name: str, arguments: list[Any]) -> tuple[Any, dict[str, Any]]:
    """What comes first, and the parameters."""
    params = dict(arguments.pop()) if arguments and isinstance(arguments[-1], dict) else {}
    keeps_channels = name in KINDS and KINDS[name].keeps_channels
    wanted: tuple[type, ...] = () if keeps_channels else (str,) if name == BACKBONE else (int,)
    fits = len(arguments) == len(wanted) and all(map(isinstance, arguments, wanted))
    if not fits:
        form = {BACKBONE: "[name of a backbone", LEVEL: "[stride in pixels"}.get(name, "[output channels")
        form = "[" if keeps_channels else form + ", "
        raise ConfigError(f"{where}: the arguments are {form}{{parameter: value}}], got {arguments}")
    return (arguments[0] if wanted else None), params


def _at_scale(where: str, key: str, value: Any, size: Size) -> Any:
    """A parameter's value, looked up where it is a table by scale letter."""
    if not (isinstance(value, dict) and value and set(value) <= set(LETTERS)):
        return value
    if size.letter not in value:
        raise ConfigError(f"{where}: '{key}' has no value for scale '{size.letter}', only for {', '.join(value)}")
    return value[size.letter]


def build_backbone(row: Row, in_channels: int) -> Any:
    """The backbone of a row: its maps as a list, with ``channels`` and ``strides``."""
    return build_part("backbone", row.what, row.params, {"in_channels": in_channels})


def scaled_channels(channels: int, size: Size) -> int:
    """That package's width rule, which is ours."""
    return scale_channels(channels, size.width, size.max_channels)
