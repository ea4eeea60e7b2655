"""Read text, JSON, XML and names that others wrote.

Text is UTF-8; byte order marks, UTF-16, UTF-32 and the encoding that an XML declares are followed. Any other encoding
is a guess and is refused with its likely name. A file name that is not UTF-8 keeps its bytes as Python's surrogates
(PEP 383), and :func:`printable` is what is shown and written of it.
"""

from __future__ import annotations

import codecs
import json
import re
import unicodedata
import urllib.parse
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable, Iterator
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import Any

from ghostyolo.errors import GhostYoloError

# UTF-32's mark begins with that of UTF-16, so it is looked for first.
_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_XML_ENCODING = re.compile(rb"^\s*<\?xml[^>]{0,200}?encoding\s*=\s*[\"']([\w.-]+)[\"'][^>]*\?>")
# Tools declare the small set and write the large one.
_WIDER = {"gb2312": "gb18030", "gbk": "gb18030", "shift_jis": "cp932", "iso-8859-1": "cp1252"}
# Control characters, halves of a character, byte order marks and what XML cannot hold.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufeff\ufffe\uffff]")

# Everything before the last @ of an address, and values of parameters named like a secret. Cameras put both anywhere.
_LOGIN = re.compile(r"([a-z][a-z0-9+.-]*://)[^\s'\"<>]*@", re.IGNORECASE)
_SECRET = re.compile(r"((?:pass|pwd|token|secret|api_?key|auth|sig)[a-z]*=)[^\s&;?/'\"<>]+", re.IGNORECASE)


class TextError(GhostYoloError):
    """A text file that cannot be read for certain.

    Attributes:
        reason: what is wrong, without the file.
    """

    def __init__(self, where: str | PathLike[str], reason: str) -> None:
        super().__init__(f"{printable(str(where))} {reason}")
        self.reason = reason


def read_text(path: str | PathLike[str]) -> str:
    """Read a text file, its line ends as they are.

    Raises:
        TextError: it cannot be opened, or its encoding is not certain.
    """
    return decode(_read_bytes(path), path)


def read_lines(path: str | PathLike[str]) -> list[str]:
    """Read the lines of a text file, without their ends; other white space stays.

    Raises:
        TextError: as :func:`read_text`.
    """
    # Not splitlines(): it also cuts at characters that names may hold, such as U+2028 or U+0085.
    return re.split("\r\n|\n|\r", read_text(path))


def read_json(path: str | PathLike[str]) -> Any:
    """Read a JSON file in which a key stands once.

    Raises:
        TextError: as :func:`read_text`; no JSON, a key that is there twice, or nested without end.
    """
    try:
        return json.loads(read_text(path), object_pairs_hook=_unique)
    except RecursionError as error:
        raise TextError(path, "is not readable JSON: its lists are nested too deep") from error
    except ValueError as error:
        raise TextError(path, f"is not readable JSON: {error}") from error


def read_xml(path: str | PathLike[str]) -> ElementTree.Element:
    """Read an XML file in the encoding that it declares.

    Raises:
        TextError: as :func:`read_text`; no XML, or an encoding that Python does not know.
    """
    data = _read_bytes(path)
    declared = _XML_ENCODING.match(data)
    name = declared[1].decode("ascii", "replace").lower() if declared else "utf-8"
    if data.startswith(tuple(_MARKS)) or declared is None or name in ("utf-8", "utf8"):
        text = decode(data, path)
    else:
        try:
            text = data.decode(_WIDER.get(name, name))
        except (LookupError, UnicodeDecodeError) as error:
            raise TextError(path, f"is not the {name} text that it says it is: save it as UTF-8") from error
    try:
        return ElementTree.fromstring(re.sub(r"^\s*<\?xml.*?\?>", "", text, count=1, flags=re.DOTALL))
    except (ElementTree.ParseError, ValueError) as error:
        raise TextError(path, f"is not readable XML ({error})") from error


def decode(data: bytes, where: str | PathLike[str]) -> str:
    """Turn a file's bytes into text.

    Args:
        where: the file, for the message.

    Raises:
        TextError: neither marked nor UTF-8; the likely encoding is named.
    """
    encoding = next((name for mark, name in _MARKS.items() if data.startswith(mark)), "utf-8")
    if encoding == "utf-8" and len(data) > 1 and b"\x00" in data[:2]:
        encoding = "utf-16-le" if data[1] == 0 else "utf-16-be"  # without a mark, but text begins with no NUL
    try:
        # Where marked files were joined, marks stand inside the text too; they show nothing and mean nothing.
        return data.decode(encoding).replace("\ufeff", "")
    except UnicodeDecodeError as error:
        likely = _likely(data) if encoding == "utf-8" else f"{encoding}, but damaged"
        raise TextError(where, f"is not UTF-8 text (it looks like {likely}): save it as UTF-8") from error


def printable(text: str) -> str:
    """Escape control characters, and bytes that are no text, in a name or message."""
    return _UNPRINTABLE.sub(lambda match: _escape(match[0]), text)


def masked(text: str) -> str:
    """Hide logins, passwords and keys in the addresses of a text.

    An address may be shown, logged or written only as this returns it.
    """
    return _SECRET.sub(r"\1***", _LOGIN.sub(r"\1***@", text))


class Names:
    """The names in a folder, found also where they are spelled in another way.

    Unicode has two forms of accented letters, and tools escape names for the web or change their case.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._exact = frozenset(names)

    def find(self, name: str) -> str | None:
        """Return this name, or the only one that is spelled alike."""
        if name in self._exact:
            return name
        alike = self._alike.get(name_key(name), [])
        return alike[0] if len(alike) == 1 else None

    @cached_property
    def _alike(self) -> dict[str, list[str]]:
        alike: dict[str, list[str]] = {}
        for name in sorted(self._exact):
            alike.setdefault(name_key(name), []).append(name)
        return alike

    def __len__(self) -> int:
        return len(self._exact)

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._exact))


def name_key(name: str) -> str:
    """Return what names that are spelled alike have in common."""
    return unicodedata.normalize("NFC", urllib.parse.unquote(name, errors="surrogateescape")).casefold()


def _read_bytes(path: str | PathLike[str]) -> bytes:
    try:
        return Path(path).read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise TextError(path, f"cannot be read: {getattr(error, 'strerror', None) or error}") from error


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"the key '{next(key for key in keys if keys.count(key) > 1)}' is there twice")
    return values


def _likely(data: bytes) -> str:
    try:
        data.decode("gb2312")  # the usual characters only: nearly any bytes are GBK's full set
    except UnicodeDecodeError:
        return "Windows-1252 or Shift JIS"
    return "GBK"


def _escape(letter: str) -> str:
    code = ord(letter)
    return f"\\x{code - 0xDC00:02x}" if 0xDC80 <= code <= 0xDCFF else f"\\u{code:04x}"
