"""Interprets a pickle's opcodes without running what it names.

A pickle is a program for a stack machine: it makes values, and it calls whatever it names. Here it makes plain values.
A class of another program becomes an :class:`Unbuilt` object, which holds what it would have been made from. Nothing is
imported and nothing is called but the ``factories`` that the caller gives. What names code, such as ``os.system``, is
refused. The opcodes are parsed by the standard library's ``pickletools``, which runs nothing either.

All lists are finite and nothing here recurses, so neither deep nesting nor values that hold themselves do harm.
"""

from __future__ import annotations

import pickletools
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from ghostyolo.errors import WeightsError, short

LARGEST = 64 << 20  # bytes of opcodes, tensors left out; published checkpoints have less than two million
_DEEPEST = 8  # of tuples that are keys

_SCALARS = (str, bytes, int, float, complex, bool, type(None))
# Opcodes whose argument is the value itself.
_LITERALS = {
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT", "STRING", "BINSTRING",
    "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "BINBYTES", "SHORT_BINBYTES",
    "BINBYTES8", "BYTEARRAY8",
}  # fmt: skip
_CONSTANTS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_TUPLE": tuple,
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
    "EMPTY_SET": list,
}
_MARK = object()

# Of the standard library, these are containers, or hold values only. All else there is refused.
_HARMLESS_MODULES = {"argparse", "datetime", "decimal", "enum", "fractions", "pathlib", "uuid"}
_HARMLESS = {"types.SimpleNamespace", "functools.partial", "builtins.object", "builtins.type", "builtins.slice"}
# Functions, by their names, that make values out of values.
_HARMLESS_FUNCTIONS = {
    *(f"{module}.{name}" for module in ("numpy", "numpy.core.multiarray", "numpy._core.multiarray")
      for name in ("dtype", "ndarray", "scalar", "_reconstruct")),
    "numpy.core.numeric._frombuffer", "numpy._core.numeric._frombuffer",
    "torch.device", "torch.dtype", "torch.layout", "torch.memory_format",
    *(f"torch.serialization._{name}" for name in ("get_layout",)),
}  # fmt: skip


@dataclass(frozen=True)
class Name:
    """What a pickle calls a class or a function; it is never looked up."""

    full: str


@dataclass(eq=False)
class Unbuilt:
    """An object of another program's class, not built.

    Attributes:
        name: of the class, with its module.
        arguments: that it would have been called with.
        state: that it would have been given, most often a dict of its attributes.
        values: appended to it, where it is a list.
        entries: set in it, where it is a dict.
    """

    name: str
    arguments: tuple[Any, ...] = ()
    state: Any = None
    values: list[Any] = field(default_factory=list)
    entries: dict[Any, Any] = field(default_factory=dict)

    def attribute(self, name: str) -> Any:
        """Return an attribute of the state; None where there is none."""
        return self.state.get(name) if isinstance(self.state, dict) else None


Factory = Callable[..., Any]


def interpret(
    file: BinaryIO, where: str, factories: Mapping[str, Factory], persistent: Callable[[Any], Any] | None = None
) -> Any:
    """Read one pickle from where the file stands, to its end.

    Args:
        where: the file's name, for messages.
        factories: by full name, what makes a value out of arguments; they must take any arguments.
        persistent: what makes a value out of a persistent id; None: the pickle must have none.

    Raises:
        WeightsError: damaged, hostile, or larger than a checkpoint's objects can be.
    """
    try:
        return _Machine(where, {**_FACTORIES, **factories}, persistent).run(_Bounded(file, where))
    except WeightsError:
        raise
    except Exception as error:  # whatever a damaged program does to the machine, it is the file's fault
        raise WeightsError(f"{where} is damaged or no pickle: {one_line(error) or type(error).__name__}") from error


def one_line(value: object) -> str:
    """Return what a file says as a short text that a terminal can show.

    A hostile one may say anything.
    """
    text = " ".join(short(value).split())
    return text if text.isprintable() else ascii(text)[1:-1]


class _Bounded:
    """A file that gives no more bytes than a pickle may have, and never tries to make room for more than there are."""

    def __init__(self, file: BinaryIO, where: str) -> None:
        self._file, self._where, self._left = file, where, LARGEST
        here = file.tell()
        self._end = file.seek(0, 2)
        file.seek(here)

    def _take(self, data: bytes) -> bytes:
        self._left -= len(data)
        if self._left < 0:
            raise WeightsError(f"{self._where} is refused: its objects take more than {LARGEST >> 20} MB")
        return data

    def read(self, count: int) -> bytes:
        count = min(count, self._end - self._file.tell(), self._left + 1)
        return self._take(self._file.read(count))

    def readline(self) -> bytes:
        return self._take(self._file.readline(self._left + 1))

    def tell(self) -> int:
        return self._file.tell()


class _Machine:
    """The stack, the memo, and what each opcode does to them."""

    def __init__(self, where: str, factories: Mapping[str, Factory], persistent: Callable[[Any], Any] | None) -> None:
        self.where, self.factories, self.persistent = where, factories, persistent
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def run(self, file: _Bounded) -> Any:
        for opcode, argument, _ in pickletools.genops(file):  # type: ignore[arg-type]
            name = opcode.name
            if name in _LITERALS:
                self.stack.append(argument)
            elif name in _CONSTANTS:
                self.stack.append(_CONSTANTS[name]())
            elif name == "STOP":
                return self.stack.pop()
            elif name not in ("PROTO", "FRAME"):
                method = getattr(self, f"_{name.lower()}", None)
                if method is None:
                    raise WeightsError(f"{self.where} is refused: no checkpoint has the opcode {name}")
                method(argument)
        raise WeightsError(f"{self.where} is truncated")

    # The stack and the memo.

    def _mark(self, _: object) -> None:
        self.stack.append(_MARK)

    def _to_mark(self) -> list[Any]:
        """Take what stands above the last mark, and the mark."""
        values = []
        while (value := self.stack.pop()) is not _MARK:
            values.append(value)
        return values[::-1]

    def _pop(self, _: object) -> None:
        self.stack.pop()

    def _pop_mark(self, _: object) -> None:
        self._to_mark()

    def _dup(self, _: object) -> None:
        self.stack.append(self.stack[-1])

    def _put(self, place: int) -> None:
        self.memo[place] = self.stack[-1]

    def _memoize(self, _: object) -> None:
        self.memo[len(self.memo)] = self.stack[-1]

    def _get(self, place: int) -> None:
        self.stack.append(self.memo[place])

    _binput = _long_binput = _put
    _binget = _long_binget = _get

    # Containers. A set stays a list: its members need not be hashable here.

    def _tuple(self, _: object) -> None:
        self.stack.append(tuple(self._to_mark()))

    def _last(self, count: int) -> None:
        taken = tuple(self.stack[-count:])
        del self.stack[-count:]
        self.stack.append(taken)

    def _tuple1(self, _: object) -> None:
        self._last(1)

    def _tuple2(self, _: object) -> None:
        self._last(2)

    def _tuple3(self, _: object) -> None:
        self._last(3)

    def _list(self, _: object) -> None:
        self.stack.append(self._to_mark())

    _frozenset = _list

    def _dict(self, _: object) -> None:
        flat = self._to_mark()
        made: dict[Any, Any] = {}
        self._fill(made, flat)
        self.stack.append(made)

    def _append(self, _: object) -> None:
        self._extend([self.stack.pop()])

    def _appends(self, _: object) -> None:
        self._extend(self._to_mark())

    _additems = _appends

    def _extend(self, values: list[Any]) -> None:
        target = self.stack[-1]
        (target.values if isinstance(target, Unbuilt) else target).extend(values)

    def _setitem(self, _: object) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._fill(self.stack[-1], [key, value])

    def _setitems(self, _: object) -> None:
        flat = self._to_mark()
        self._fill(self.stack[-1], flat)

    def _fill(self, target: Any, flat: list[Any]) -> None:
        if isinstance(target, Unbuilt):
            target = target.entries
        for key, value in zip(flat[::2], flat[1::2], strict=True):
            if not _is_key(key):
                raise WeightsError(f"{self.where} is refused: a dict has a {type(key).__name__} as a key")
            target[key] = value

    # Names and what would call them.

    def _global(self, argument: str) -> None:
        module, _, name = argument.partition(" ")
        self.stack.append(self._named(module, name))

    def _stack_global(self, _: object) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        if not isinstance(name, str) or not isinstance(module, str):
            raise WeightsError(f"{self.where} is damaged: a name is no text")
        self.stack.append(self._named(module, name))

    def _named(self, module: str, name: str) -> Name:
        full = f"{'builtins' if module == '__builtin__' else module}.{name}"
        top = full.partition(".")[0]
        if full in self.factories or full in _HARMLESS or top in _HARMLESS_MODULES:
            return Name(full)
        if top in sys.stdlib_module_names or top in ("nt", "posix", "copy_reg", "exceptions", "commands"):
            raise self._refusal(full)
        return Name(full)

    def _refusal(self, name: str) -> WeightsError:
        return WeightsError(
            f"{self.where} is refused: it would call {one_line(name)}, and only tensors and plain containers are read "
            "from a pickle; nothing in it was run"
        )

    def _make(self, name: Any, arguments: Any, may_be_function: bool = True) -> Any:
        if not isinstance(name, Name) or not isinstance(arguments, tuple):
            raise WeightsError(f"{self.where} is refused: it would call what is no name")
        if name.full == "builtins.getattr" and not _is_method(arguments):
            raise self._refusal(name.full)
        if name.full in self.factories:
            return self.factories[name.full](*arguments)
        last = name.full.rpartition(".")[2]
        if may_be_function and not last.lstrip("_")[:1].isupper() and not self._is_harmless(name.full):
            raise self._refusal(name.full)
        return Unbuilt(name.full, arguments)

    @staticmethod
    def _is_harmless(name: str) -> bool:
        return name in _HARMLESS | _HARMLESS_FUNCTIONS or name.partition(".")[0] in _HARMLESS_MODULES

    def _reduce(self, _: object) -> None:
        arguments, name = self.stack.pop(), self.stack.pop()
        self.stack.append(self._make(name, arguments))

    def _newobj(self, _: object) -> None:
        arguments, name = self.stack.pop(), self.stack.pop()
        self.stack.append(self._make(name, arguments, may_be_function=False))

    def _newobj_ex(self, _: object) -> None:
        named, arguments, name = self.stack.pop(), self.stack.pop(), self.stack.pop()
        del named
        self.stack.append(self._make(name, arguments, may_be_function=False))

    def _obj(self, _: object) -> None:
        name, *arguments = self._to_mark()
        self.stack.append(self._make(name, tuple(arguments)))

    def _inst(self, argument: str) -> None:
        arguments = tuple(self._to_mark())
        module, _, name = argument.partition(" ")
        self.stack.append(self._make(self._named(module, name), arguments))

    def _build(self, _: object) -> None:
        state = self.stack.pop()
        if isinstance(self.stack[-1], Unbuilt):
            self.stack[-1].state = state

    def _persid(self, argument: Any) -> None:
        if self.persistent is None:
            raise WeightsError(f"{self.where} is damaged: it refers to a tensor that cannot be there")
        self.stack.append(self.persistent(argument))

    def _binpersid(self, _: object) -> None:
        self._persid(self.stack.pop())


def _is_key(key: Any) -> bool:
    """Whether a value can be a key without Python following it into the depth."""
    level = [key]
    for _ in range(_DEEPEST):
        level = [part for value in level for part in (value if isinstance(value, tuple) else [value])]
        if not any(isinstance(value, tuple) for value in level):
            return all(isinstance(value, (*_SCALARS, Name, Unbuilt)) for value in level)
        if len(level) > 1000:
            return False
    return False


def _encoded(text: object = "", encoding: object = "latin1", *_: object) -> bytes:
    """Bytes as Python 3 writes them into an old pickle."""
    return str(text).encode("latin1", "replace") if encoding == "latin1" else b""


def _container(values: object = (), *_: object) -> Any:
    return list(values) if isinstance(values, (list, tuple)) else values


def _mapping(values: object = (), *_: object) -> dict[Any, Any]:
    if isinstance(values, dict):
        return dict(values)
    pairs = values if isinstance(values, (list, tuple)) else ()
    return {
        pair[0]: pair[1] for pair in pairs if isinstance(pair, (list, tuple)) and len(pair) == 2 and _is_key(pair[0])
    }


def _default_mapping(*_: object) -> dict[Any, Any]:
    return {}


def _reconstructed(cls: object = None, *_: object) -> Unbuilt:
    return Unbuilt(cls.full if isinstance(cls, Name) else "object")


def _is_method(arguments: tuple[Any, ...]) -> bool:
    """Whether it is a method of an object that is not built, as a folded network keeps its ``forward``."""
    return len(arguments) == 2 and isinstance(arguments[0], Unbuilt) and isinstance(arguments[1], str)


def _method(*arguments: object) -> Unbuilt:
    return Unbuilt("builtins.getattr", arguments)


_FACTORIES: dict[str, Factory] = {
    "builtins.getattr": _method,
    "collections.OrderedDict": _mapping,
    "collections.Counter": _mapping,
    "collections.defaultdict": _default_mapping,
    "collections.deque": _container,
    "builtins.dict": _mapping,
    "builtins.list": _container,
    "builtins.set": _container,
    "builtins.frozenset": _container,
    "builtins.tuple": _container,
    "builtins.bytearray": _encoded,
    "builtins.bytes": _encoded,
    "_codecs.encode": _encoded,
    "copyreg._reconstructor": _reconstructed,
    "copy_reg._reconstructor": _reconstructed,
}
