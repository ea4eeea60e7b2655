"""Reads what ``torch.save`` wrote.

Its present form is a zip archive, that before torch 1.6 a row of pickles. Both hold a pickle that refers to storages,
which are bytes beside it. A tensor is a view of one: a type, a first element, sizes and strides. Tensors are checked
against their storage before any room is made for them.
"""

from __future__ import annotations

import io
import math
import struct
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from ghostyolo.errors import WeightsError
from ghostyolo.models.pickles.interpreter import Factory, Name, interpret, one_line

_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LARGEST_STORAGES = 100_000  # in one file
_MOST_DIMENSIONS = 16

_TYPES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
    "UntypedStorage": torch.uint8,
}
_TYPES_BY_NAME = {str(dtype): dtype for dtype in set(_TYPES.values())}


@dataclass(eq=False)
class _Storage:
    """Bytes of a file that tensors are views of.

    Attributes:
        key: of its record in the archive, or in the list at the end of an old file.
        dtype: of its elements.
    """

    key: str
    dtype: torch.dtype


@dataclass(eq=False)
class View:
    """A tensor whose storage is not read yet."""

    storage: _Storage
    dtype: torch.dtype
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]


@dataclass
class TorchFile:
    """The object that a file holds, and the way to its tensors.

    Attributes:
        tree: plain containers and values, a :class:`View` for each tensor, and an :class:`Unbuilt` for each object of
            any other class. An ordered dict is a dict, a set a list.
    """

    path: Path
    tree: Any
    _data: Callable[[_Storage], bytes]
    _left: int  # bytes that tensors may still take: a small file has no large tensors

    def tensor(self, view: View) -> Tensor:
        """Read a tensor, on the CPU.

        Raises:
            WeightsError: it does not fit its storage.
        """
        with _at_fault(self.path):
            return self._tensor(view, self._data(view.storage))

    def _tensor(self, view: View, data: bytes) -> Tensor:
        elements = len(data) // view.dtype.itemsize
        count = math.prod(view.size)
        last = view.offset + sum((side - 1) * step for side, step in zip(view.size, view.stride, strict=True))
        self._left -= len(data)
        if count and (last >= elements or count > elements or self._left < 0):
            raise WeightsError(f"{self.path} is damaged: a tensor of {view.size} does not fit its {elements} numbers")
        if not count:
            return torch.empty(view.size, dtype=view.dtype)
        whole = torch.frombuffer(bytearray(data), dtype=view.dtype, count=elements)
        return whole.as_strided(view.size, view.stride, view.offset).clone()


@contextmanager
def open_torch_file(path: str | Path) -> Iterator[TorchFile]:
    """Open what ``torch.save`` wrote; nothing in the file is run.

    Raises:
        WeightsError: missing, damaged, hostile, or no such file.
    """
    path = Path(path)
    with ExitStack() as stack:
        with _at_fault(path):
            file = stack.enter_context(path.open("rb"))
            if zipfile.is_zipfile(file):
                opened = _read_archive(stack.enter_context(zipfile.ZipFile(file)), path)
            else:
                file.seek(0)
                opened = _read_legacy(file, path)
        yield opened


@contextmanager
def _at_fault(path: Path) -> Iterator[None]:
    """Whatever is raised while a file is read is the file's fault: a damaged one breaks readers in many ways."""
    try:
        yield
    except WeightsError:
        raise
    except Exception as error:
        reason = getattr(error, "strerror", None) or str(error) or "it ends too soon"
        raise WeightsError(f"{path} cannot be read: {one_line(reason)}") from error


def _read_archive(archive: zipfile.ZipFile, path: Path) -> TorchFile:
    entries = {entry.filename: entry for entry in archive.infolist()}
    name = next((name for name in entries if name.count("/") == 1 and name.endswith("/data.pkl")), None)
    if name is None:
        raise WeightsError(f"{path} is a zip file without a pickle: not what torch.save writes")
    root = name.removesuffix("data.pkl")
    if f"{root}constants.pkl" in entries:
        raise WeightsError(f"{path} is a TorchScript program, not a checkpoint: import the file it was made from")
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries.values()):
        raise WeightsError(f"{path} is refused: it holds compressed records, which torch.save never writes")
    if sum(entry.file_size for entry in entries.values()) > path.stat().st_size:
        raise WeightsError(f"{path} is refused: its records are larger than the file")
    if f"{root}byteorder" in entries and archive.read(f"{root}byteorder") != b"little":
        raise WeightsError(f"{path} was written on a big-endian machine: save it again on another one")
    tree = _interpret(io.BytesIO(archive.read(name)), str(path))

    def data(storage: _Storage) -> bytes:
        record = f"{root}data/{storage.key}"
        if record not in entries:
            raise WeightsError(f"{path} is damaged: it has no record {one_line(record)}")
        return archive.read(record)

    return TorchFile(path, tree, data, 2 * path.stat().st_size)


def _read_legacy(file: BinaryIO, path: Path) -> TorchFile:
    if file.read(1) != b"\x80":
        raise WeightsError(f"{path} is not what torch.save writes: neither a zip file nor a pickle")
    file.seek(0)
    magic = interpret(file, str(path), {})
    if magic != _LEGACY_MAGIC:
        raise WeightsError(f"{path} is a pickle, but not one that torch.save wrote: it cannot hold a network's weights")
    version, system = interpret(file, str(path), {}), interpret(file, str(path), {})
    if version != 1001 or not isinstance(system, dict) or not system.get("little_endian", True):
        raise WeightsError(
            f"{path} has a form that is not known (version {one_line(version)}): save it again with a newer torch"
        )
    storages: dict[str, _Storage] = {}
    tree = _interpret(file, str(path), storages)
    keys = interpret(file, str(path), {})
    if not isinstance(keys, list) or len(keys) > _LARGEST_STORAGES:
        raise WeightsError(f"{path} is damaged: it has no list of its storages")
    places: dict[str, tuple[int, int]] = {}
    end = path.stat().st_size
    for key in keys:
        storage = storages.get(str(key))
        (count,) = struct.unpack("<q", file.read(8))
        size = count * (storage.dtype.itemsize if storage else 1)
        if storage is None or count < 0 or file.tell() + size > end:
            raise WeightsError(f"{path} is damaged or truncated: storage {one_line(key)} is not whole")
        places[str(key)] = (file.tell(), size)
        file.seek(size, 1)

    def data(storage: _Storage) -> bytes:
        if storage.key not in places:
            raise WeightsError(f"{path} is damaged: it has no storage {one_line(storage.key)}")
        file.seek(places[storage.key][0])
        return file.read(places[storage.key][1])

    return TorchFile(path, tree, data, 2 * path.stat().st_size)


def _interpret(file: BinaryIO, where: str, storages: dict[str, _Storage] | None = None) -> Any:
    known = storages if storages is not None else {}

    def persistent(reference: Any) -> _Storage | Name:
        match reference:
            case ("module", Name() as name, *_):  # old files keep the source code of classes beside their names
                return name
            case ("storage", Name(full=full), key, _, *_) if full.rpartition(".")[2] in _TYPES:
                return known.setdefault(str(key), _Storage(str(key), _TYPES[full.rpartition(".")[2]]))
        raise WeightsError(f"{where} is damaged, or holds tensors of a type that is not known")

    return interpret(file, where, _factories(where), persistent)


def _factories(where: str) -> dict[str, Factory]:
    def view(storage: Any = None, offset: Any = None, size: Any = None, stride: Any = None, *rest: Any) -> View:
        numbers = all(isinstance(value, tuple) and len(value) <= _MOST_DIMENSIONS for value in (size, stride))
        if not isinstance(storage, _Storage) or not numbers or len(size) != len(stride):
            raise WeightsError(f"{where} is damaged: a tensor is not described")
        if not all(isinstance(value, int) and 0 <= value < 1 << 48 for value in (offset, *size, *stride)):
            raise WeightsError(f"{where} is damaged: a tensor has impossible sizes")
        return View(storage, storage.dtype, offset, size, stride)

    def typed_view(
        storage: Any = None, offset: Any = None, size: Any = None, stride: Any = None, grad: Any = None,
        hooks: Any = None, dtype: Any = None, *rest: Any,
    ) -> View:  # fmt: skip
        made = view(storage, offset, size, stride)
        if not isinstance(dtype, Name) or dtype.full not in _TYPES_BY_NAME:
            raise WeightsError(f"{where} holds tensors of a type that is not known")
        made.dtype = _TYPES_BY_NAME[dtype.full]
        return made

    def parameter(data: Any = None, *_: Any) -> Any:
        return data

    def of_type(function: Any = None, kind: Any = None, arguments: Any = (), *_: Any) -> Any:
        made = factories.get(function.full) if isinstance(function, Name) else None
        if made is None or not isinstance(arguments, tuple):
            raise WeightsError(f"{where} holds tensors of a type that is not known")
        return made(*arguments)

    factories: dict[str, Factory] = {
        "torch._utils._rebuild_tensor": view,
        "torch._utils._rebuild_tensor_v2": view,
        "torch._utils._rebuild_tensor_v3": typed_view,
        "torch._utils._rebuild_parameter": parameter,
        "torch._utils._rebuild_parameter_with_state": parameter,
        "torch.nn.parameter.Parameter": parameter,
        "torch._tensor._rebuild_from_type_v2": of_type,
        "torch.Size": lambda values=(), *_: tuple(values) if isinstance(values, (list, tuple)) else (),
    }
    return factories
