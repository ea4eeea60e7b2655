"""Our layers in networks of an imported ``ultralytics``.

Three of its functions are wrapped, each calls the original:

- ``nn.tasks.parse_model``: a YAML that names a ``ghostyolo.`` layer is built by :func:`build_rows`; any other as ever.
- ``nn.tasks.check_yaml``: the name of one of our files is found from any folder, unless there or in that package
  is a file of that name.
- ``nn.tasks.BaseModel.fuse``: our layers fold with that package's own, before validation, prediction and export.

The parser counts channels from row to row, so it must be told the truth about rows that it does not know. Each is
handed over as a row of its own with the same output channels: ``Index``, which has them as an argument,
``nn.Identity``, which keeps them, or ``C3k2``, which scales them and tells a Detect after it to be of the modern form.
One more row at the end receives all that was counted: a string in a row's arguments that is the name of a variable of
the parser, as ``nc`` in Detect's, stands for its value, and ``ch`` is the list of channels. Then every stand-in is
replaced by our module, built for just those channels.

Weights that users have trained name :class:`Layer` by this file, so it keeps its name.
"""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from ghostyolo.errors import ConfigError, MissingExtraError
from ghostyolo.integrations.ultralytics.rows import (
    BACKBONE,
    LEVEL,
    PREFIX,
    Row,
    Size,
    build_backbone,
    is_ours,
    read_row,
    scaled_channels,
)
from ghostyolo.nn.reparam import fold

OLDEST, NEWEST_TESTED = "8.4.9", "8.4.190"
_NEEDED = ("parse_model", "check_yaml", "BaseModel", "Index", "C3k2", "Detect")
_DISTRIBUTIONS = ("ultralytics-opencv-headless", "ultralytics")

Layers = tuple[nn.Sequential, list[int]]
Parser = Callable[..., Layers]

_MODELS = Path(__file__).parent / "models"
_restores: list[Callable[[], None]] = []


def wrap_package() -> None:
    """Wrap the three functions. A second call does nothing.

    Raises:
        MissingExtraError: a version whose parser lacks what is needed.
    """
    if _restores:
        return
    tasks = importlib.import_module("ultralytics.nn.tasks")
    _check_version(importlib.import_module("ultralytics").__version__, tasks)
    _wrap(tasks, "parse_model", _parse_model)
    _wrap(tasks, "check_yaml", _check_yaml)
    _wrap(tasks.BaseModel, "fuse", _fuse)


def unwrap_package() -> None:
    """Give that package its own functions back."""
    while _restores:
        _restores.pop()()


def _wrap(owner: Any, name: str, replacement: Callable[..., Any]) -> None:
    original = getattr(owner, name)

    @functools.wraps(original)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        return replacement(original, *args, **kwargs)

    setattr(owner, name, wrapped)
    _restores.append(lambda: setattr(owner, name, original))


def _check_version(version: str, tasks: Any) -> None:
    if _numbers(version) < _numbers(OLDEST):
        raise unfit_version("it is too old")
    for name in _NEEDED:
        if not hasattr(tasks, name):
            raise unfit_version(f"its nn.tasks has no {name}")


def unfit_version(reason: str) -> MissingExtraError:
    """Return the error that the installed version cannot be used, with the cure."""
    version = importlib.import_module("ultralytics").__version__
    return MissingExtraError(
        f"ultralytics {version} cannot take ghostyolo's layers: {reason}; tested are {OLDEST} to {NEWEST_TESTED}: "
        f'pip install "{_distribution()}>={OLDEST},<={NEWEST_TESTED}"'
    )


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version)[:3])


def _distribution() -> str:
    """Which of the two distributions of that package is installed: the other would be written over it."""
    for name in _DISTRIBUTIONS[:-1]:
        try:
            importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        return name
    return _DISTRIBUTIONS[-1]


def _parse_model(original: Callable[..., Any], d: dict[str, Any], ch: int, verbose: bool = True) -> Any:
    return build_rows(original, d, ch, verbose) if names_our_layers(d) else original(d, ch=ch, verbose=verbose)


def _check_yaml(original: Callable[..., Any], file: Any, *args: Any, **kwargs: Any) -> Any:
    ours = _MODELS / str(file)
    if Path(str(file)).name != str(file) or not ours.is_file():
        return original(file, *args, **kwargs)
    return original(file, hard=False) or str(ours)


def _fuse(original: Callable[..., Any], model: Any, *args: Any, **kwargs: Any) -> Any:
    # That package leaves the branches of a network in quantization-aware training as they are, and so do we.
    if not any(type(module).__name__ == "TensorQuantizer" for module in model.modules()):
        for layer in model.model:
            if isinstance(layer, Layer):
                layer.fold()
    return original(model, *args, **kwargs)


class Layer(nn.Module):
    """A module of ours in a row's place: same input, same output.

    Attributes:
        module: ours; a plain one after :meth:`fold`.
        spread: give a row's several inputs to the module one by one, not as a list.
        i, f, np: what the parser writes on every layer: row, rows it reads, parameters; and a name, ``type``.
    """

    i: int
    f: int | list[int]
    np: int

    def __init__(self, module: nn.Module, spread: bool = False) -> None:
        super().__init__()
        self.module, self.spread = module, spread

    def forward(self, x: Any) -> Any:
        return self.module(*x) if self.spread else self.module(x)

    def fold(self) -> None:
        """Replace the module by its plain form, frozen; folding twice does no harm."""
        self.module = fold(self.module).train(self.training).requires_grad_(False)

    def __setstate__(self, state: dict[str, Any]) -> None:
        # Weights opened in a new process, such as a worker of multi-GPU training, must fold there too.
        super().__setstate__(state)
        wrap_package()


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
