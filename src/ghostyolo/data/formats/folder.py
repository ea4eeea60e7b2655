"""Lists what lies below a folder, and finds pictures by written names.

Layouts are told apart by it.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path, PurePosixPath

from ghostyolo.data.images import IMAGE_SUFFIXES
from ghostyolo.data.listing import Listing, is_companion, is_hidden, suffix_of, walk
from ghostyolo.text import TextError, decode, name_key

# How splits are called, by the name they get here.
_SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
    "trainval": "trainval",
}
# Words that stand beside a split's name in the name of a folder or an annotation file.
_BESIDE = frozenset(("images", "image", "img", "imgs", "labels", "label", "annotations", "annotation"))
_BESIDE |= {"data", "dataset", "set", "split", "obj", "xml", "json"}
# A folder of these names holds no pictures; they lie beside it.
_ANNOTATION_FOLDERS = frozenset(("annotations", "annotation", "ann", "anns", "annos", "labels", "label"))
_ANNOTATION_FOLDERS |= {"xml", "xmls", "json", "jsons", "csv", "txt"}
_WORD = re.compile(r"[a-z]+")
_HEAD_BYTES = 16384
_SAMPLE = 40


class Folder:
    """The files below a folder.

    Args:
        given: the folder; or one annotation file of a data set, then no other annotation file is seen.

    Attributes:
        given: the folder, or that of the file.
        alone: whether one file was given.
    """

    def __init__(self, given: Path) -> None:
        self.alone = given.is_file()
        self.given = given.parent if self.alone else given
        self._files: dict[str, list[Path]] = {}
        self._own = Listing([])
        if self.alone:
            self._files[suffix_of(given.name)] = [given]
        else:
            self._list(given, self._own, annotations=True)

    @property
    def root(self) -> Path:
        """Where pictures are looked for.

        The folder, or the one above it where it has none.
        """
        return self._found[0]

    @property
    def pictures(self) -> list[Path]:
        """All pictures, folder by folder, in name order."""
        return self._found[1].files

    @property
    def listing(self) -> Listing:
        """The pictures, and what a listing of them passes over."""
        return self._found[1]

    @cached_property
    def _found(self) -> tuple[Path, Listing]:
        top, listing = self.given, self._own
        if self.alone:
            self._list(top, listing, annotations=False)
        holds_annotations = self.alone or top.resolve().name.casefold() in _ANNOTATION_FOLDERS
        if not listing.files and holds_annotations:
            # The pictures lie beside the folder of annotations.
            beside, other = (top.parent if top.name not in ("", "..") else top.resolve().parent), Listing([])
            self._list(beside, other, annotations=False)
            if other.files:
                return beside, other
        return top, listing

    def files(self, *suffixes: str) -> list[Path]:
        """Return the files with these endings, given in small letters.

        Hidden ones are not seen.
        """
        return [path for suffix in suffixes for path in self._files.get(suffix, [])]

    def named(self, *names: str) -> list[Path]:
        """Return the files of these names, given in small letters, the shallowest first."""
        paths = [path for group in self._files.values() for path in group if path.name.casefold() in names]
        return sorted(paths, key=lambda path: (len(path.parts), names.index(path.name.casefold()), path))

    def heads(self, *suffixes: str) -> Iterator[tuple[Path, str]]:
        """Yield the files with these endings and how each begins.

        "" where that is no text.
        """
        return ((path, read_head(path)) for path in self.files(*suffixes))

    def counts(self) -> str:
        """Return what is there, by ending: ``"120 .jpg, 3 .txt"``."""
        counts = Counter({suffix or "without an ending": len(paths) for suffix, paths in self._files.items() if paths})
        counts.update(suffix_of(path.name) for path in self.pictures if path.is_relative_to(self.given))
        return ", ".join(f"{count} {suffix}" for suffix, count in counts.most_common(8)) or "no file"

    def find_pictures(self, written: str, near: Path, split: str = "", *, stem: bool = False) -> list[Path]:
        """Return the pictures that a written name or path may mean.

        More than one where that cannot be told.

        Case, Unicode's forms, ``%20``, Windows' slashes and another ending do not matter where it is clear without
        them. Of several of one name, those stay whose folders are also written, then those of the split, then those
        nearest to the annotation file.

        Args:
            written: as it stands in the annotations.
            near: the annotation file.
            split: of the annotation; "" where it says none.
            stem: whether it is written without an ending.
        """
        parts: tuple[str, ...] = ()
        found: list[Path] = []
        for text in dict.fromkeys((written, written.replace("\\", "/"))):
            parts = tuple(part for part in PurePosixPath(text).parts if part not in ("/", ".", ".."))
            found = self._named(parts[-1], stem) if parts else []
            if not found and not stem:
                places = (near.parent / text, self.root / text)
                found = [Path(os.path.normpath(place)) for place in places if _is_file(place)][:1]
            if found:
                break
        if len(found) > 1:
            found = _best(found, [self._tail(path, parts) for path in found])
        if len(found) > 1 and split:
            of_split = [self.split_of(path) for path in found]
            found = _best(found, [(other == split) - (other not in ("", split)) for other in of_split])
        if len(found) > 1:
            found = _best(found, [len(os.path.commonpath([path.parent, near.parent])) if path.is_absolute()
                                  == near.is_absolute() else 0 for path in found])  # fmt: skip
        return found

    def expected(self, name: str, near: Path) -> Path:
        """Return where a picture that is not there would lie."""
        place = self.pictures[0].parent if self.pictures else near.parent
        return place / (PurePosixPath(name.replace("\\", "/")).name or name)

    def split_of(self, path: Path) -> str:
        """Return the split that the folders of a file say.

        "" where they say none.
        """
        try:
            folders = path.relative_to(self.root).parts[:-1]
        except ValueError:
            return ""
        return next((split for part in reversed(folders) if (split := split_named(part, alone=True))), "")

    def _list(self, top: Path, listing: Listing, *, annotations: bool) -> None:
        for parent, names, hidden in walk(top):
            passed: Counter[str] = Counter()
            first = len(listing.files)
            for name in names:
                suffix = suffix_of(name)
                if hidden or is_hidden(name):
                    passed["hidden"] += suffix in IMAGE_SUFFIXES
                elif suffix in IMAGE_SUFFIXES:
                    listing.files.append(parent / name)
                else:
                    if annotations:
                        self._files.setdefault(suffix, []).append(parent / name)
                    if not is_companion(suffix):
                        passed[suffix or "without an ending"] += 1
            # A licence or a script where no pictures lie is nothing that was passed over.
            listing.passed.update(passed if len(listing.files) > first else {"hidden": passed["hidden"]})

    def _named(self, name: str, stem: bool) -> list[Path]:
        """Pictures of this name, else of this stem; of those that are spelled alike the one of this very spelling."""
        key, bare = name_key(name), name_key(os.path.splitext(name)[0])
        by_stem = self._by_stem.get(key, [])
        found = by_stem if stem and by_stem else self._by_name.get(key) or by_stem or self._by_stem.get(bare, [])
        return [path for path in found if name in (path.name, path.stem)] or found

    @cached_property
    def _by_name(self) -> dict[str, list[Path]]:
        index: dict[str, list[Path]] = {}
        for path in self.pictures:
            index.setdefault(name_key(path.name), []).append(path)
        return index

    @cached_property
    def _by_stem(self) -> dict[str, list[Path]]:
        index: dict[str, list[Path]] = {}
        for path in self.pictures:
            index.setdefault(name_key(path.stem), []).append(path)
        return index

    def _tail(self, path: Path, parts: Sequence[str]) -> int:
        """How many folders, from the picture upwards, are as written."""
        folders = [name_key(part) for part in path.parent.parts]
        count = 0
        for own, other in zip(reversed(folders), reversed(parts[:-1]), strict=False):
            if own != name_key(other):
                break
            count += 1
        return count


def read_head(path: Path) -> str:
    """Return how a text file begins; "" where it cannot be read as text."""
    try:
        with open(path, "rb") as file:
            data = file.read(_HEAD_BYTES)
    except (OSError, ValueError):
        return ""
    for cut in range(4):  # a character may be cut in two
        try:
            return decode(data[: len(data) - cut], path)
        except TextError:
            continue
    return data.decode("latin-1")


def first_line(text: str) -> str:
    """Return the first line of a text, whatever system ended it."""
    return re.split("\r\n|\n|\r", text, maxsplit=1)[0]


def sample(paths: Sequence[Path]) -> Sequence[Path]:
    """Return some of many files, evenly."""
    return paths[:: len(paths) // _SAMPLE + 1]


def split_named(name: str, *, alone: bool = False) -> str:
    """Return the split that a name says, "" where it says none.

    ``valid``, ``train2017``, ``train_labels`` and ``oidv6-train-annotations-bbox`` say one.

    Args:
        name: of a folder, or of a file without its ending.
        alone: whether the other words of the name must be such as "images", as in a folder's name.
    """
    words = _WORD.findall(name.casefold())
    splits = {_SPLIT_NAMES[word] for word in words if word in _SPLIT_NAMES}
    others = [word for word in words if word not in _SPLIT_NAMES and word not in _BESIDE]
    return splits.pop() if len(splits) == 1 and not (alone and others) else ""


def _best(paths: list[Path], scores: Sequence[int]) -> list[Path]:
    highest = max(scores)
    return [path for path, score in zip(paths, scores, strict=True) if score == highest]


def _is_file(path: Path) -> bool:
    try:
        return os.path.isfile(path)
    except ValueError:  # a NUL in the name
        return False
