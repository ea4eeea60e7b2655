"""Build a YAML in which some rows are ours: that package's parser builds its own rows, and we put ours in place.

The parser counts channels from row to row, so it must be told the truth about rows that it does not know. Each is
handed over as a row of its own with the same output channels: ``Index``, which has them as an argument,
``nn.Identity``, which keeps them, or ``C3k2``, which scales them and tells a Detect after it to be of the modern form.
One more row at the end receives all that was counted: a string in a row's arguments that is the name of a variable of
the parser, as ``nc`` in Detect's, stands for its value, and ``ch`` is the list of channels. Then every stand-in is
replaced by our module, built for just those channels.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from typing import Any

from torch import nn

from ghostyolo.errors import ConfigError
from ghostyolo.integrations.ultralytics.hooks import unfit_version
from ghostyolo.integrations.ultralytics.kinds import BACKBONE, LEVEL
from ghostyolo.integrations.ultralytics.layer import Layer
from ghostyolo.integrations.ultralytics.rows import (
    PREFIX,
    Row,
    Size,
    build_backbone,
    is_ours,
    read_row,
    scaled_channels,
)

Layers = tuple[nn.Sequential, list[int]]
Parser = Callable[..., Layers]


def names_our_layers(declaration: dict[str, Any]) -> bool:
    """Whether a declaration has a row of ours."""
    return any(is_ours(row) for row in declaration["backbone"] + declaration["head"])


def build_rows(original: Parser, declaration: dict[str, Any], ch: int, verbose: bool) -> Layers:
    """What ``parse_model`` gives: the layers, and which rows' outputs are read later on.

    Args:
        original: that package's own parser.
        declaration: of a detector, with ``backbone`` and ``head``; the parser may write into its rows.
        ch: channels of the picture.

    Raises:
        ConfigError: a row of ours that is wrong.
    """
    size = Size.of(declaration)
    rows = declaration["backbone"] + declaration["head"]
    ours = {index: read_row(index, row, size) for index, row in enumerate(rows) if is_ours(row)}
    backbone = _backbone(ours, ch)
    stand_ins = [_stand_in(index, row, ours.get(index), backbone, size) for index, row in enumerate(rows)]
    stand_ins.append([-1, 1, "Index", [0, "ch"]])
    model, reads = original({**declaration, "backbone": stand_ins, "head": []}, ch=ch, verbose=False)
    *layers, last = model
    channels = _counted(last, len(rows))
    for index, row in ours.items():
        if row.name == LEVEL:
            continue  # the package's Index does just that
        known = [ch] if index == 0 else channels[:index]
        module = backbone if row.name == BACKBONE else row.build([known[k] for k in row.inputs], channels[index])
        layers[index] = _placed(Layer(module, row.name != BACKBONE and row.kind.spread), rows[index], index)
    if verbose:
        _print_table(layers, channels)
    more = {k % index for index, row in ours.items() for k in row.inputs if k != -1}
    return nn.Sequential(*layers), sorted({*reads, *more})


def _backbone(ours: dict[int, Row], in_channels: int) -> Any:
    """The one backbone, which is the first row; None without one."""
    for index, row in ours.items():
        if row.name == BACKBONE and index > 0:
            raise ConfigError(f"{row.where}: a backbone reads the picture: make it row 0")
    return build_backbone(ours[0], in_channels) if 0 in ours and ours[0].name == BACKBONE else None


def _stand_in(index: int, original_row: Sequence[Any], row: Row | None, backbone: Any, size: Size) -> Sequence[Any]:
    """A row of that package's own with the same input and as many output channels."""
    if row is None:
        return original_row
    source = row.inputs[0]
    if row.name == BACKBONE:
        return [source, 1, "nn.Identity", []]
    if row.name == LEVEL:
        if backbone is None or source % index != 0:
            raise ConfigError(f"{row.where}: reads the backbone of row 0, got row {source}")
        if row.what not in backbone.strides:
            strides = ", ".join(map(str, backbone.strides))
            raise ConfigError(f"{row.where}: the backbone has no map of stride {row.what}, only of {strides}")
        position = list(backbone.strides).index(row.what)
        return [source, 1, "Index", [backbone.channels[position], position]]
    if backbone is not None and any(k % index == 0 for k in row.inputs):
        raise ConfigError(f"{row.where}: row 0 gives several maps: choose one by a row of {PREFIX}{LEVEL}")
    if row.kind.keeps_channels:
        return [source, 1, "nn.Identity", []]
    if row.kind.modern:
        return [source, 1, "C3k2", [row.what]]
    return [source, 1, "Index", [scaled_channels(row.what, size)]]


def _counted(last: Any, rows: int) -> list[int]:
    """Output channels of every row, as the parser counted them."""
    channels = getattr(last, "index", None)
    if not isinstance(channels, list) or len(channels) != rows + 1:
        raise unfit_version("its parser does not tell its layers' channels")
    return channels[:-1]


def _placed(layer: Layer, row: Sequence[Any], index: int) -> Layer:
    layer.i, layer.f = index, row[0]
    layer.type = row[2]  # type: ignore[assignment]  # the parser too writes a name over Module.type
    layer.np = sum(parameter.numel() for parameter in layer.parameters())
    return layer


def _print_table(layers: Sequence[Any], channels: Sequence[int]) -> None:
    log = importlib.import_module("ultralytics.utils").LOGGER.info
    log(f"{'row':>3} {'reads':<14} {'parameters':>10} {'channels':>8}  layer")
    for layer, count in zip(layers, channels, strict=True):
        name = layer.type.removeprefix("ultralytics.nn.modules.")
        counted = "" if name == PREFIX + BACKBONE else count  # several maps
        log(f"{layer.i:>3} {layer.f!s:<14} {layer.np:>10} {counted:>8}  {name}")
