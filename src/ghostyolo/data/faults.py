"""What can be wrong with a data set.

One list for training, scoring and checking, with what reading does about each.

The readers add to a :class:`FaultList`, and :class:`ghostyolo.data.records.DetectionData` hands it on. No torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ghostyolo.errors import DataError
from ghostyolo.text import printable


@dataclass(frozen=True)
class Kind:
    """A kind of fault.

    Attributes:
        level: ``"error"`` (something is lost or wrong), ``"warning"`` (mended or to be looked at) or ``"info"``.
        effect: what reading does about it.
        refused: training and scoring stop, since labels would be wrong in silence.
    """

    level: str
    effect: str
    refused: bool = False


KINDS = {
    "unreadable-image": Kind("error", "left out"),
    "missing-image": Kind("error", "left out"),
    "missing-labels": Kind("error", "left out"),
    "labels-without-image": Kind("error", "left out"),
    "missing-split": Kind("error", "not there"),
    "wrong-size": Kind("error", "left out"),
    "bad-label": Kind("error", "refused", refused=True),
    "unknown-class": Kind("error", "refused", refused=True),
    "wrong-unit": Kind("error", "refused", refused=True),
    "ambiguous": Kind("error", "refused", refused=True),
    "no-objects": Kind("error", "nothing to learn"),
    "image-in-two-splits": Kind("error", "taken as it is"),
    "many-unlabelled": Kind("warning", "taken as it is"),
    "many-clipped": Kind("warning", "taken as it is"),
    "zero-area-box": Kind("warning", "dropped"),
    "box-outside": Kind("warning", "clipped, or dropped where nothing is left"),
    "duplicate-box": Kind("warning", "taken as it is"),
    "duplicate-image": Kind("warning", "taken as it is"),
    "listed-twice": Kind("warning", "taken once, with all its boxes"),
    "shared-labels": Kind("warning", "taken as it is"),
    "size-mismatch": Kind("warning", "boxes fitted to the file"),
    "doubled-class": Kind("warning", "taken as one"),
    "class-without-objects": Kind("warning", "taken as it is"),
    "not-read": Kind("warning", "passed over"),
    "held-out": Kind("info", "val made of training pictures"),
    "val-is-train": Kind("warning", "validated on the training pictures"),
    "cut-group": Kind("warning", "cut"),
    "two-layouts": Kind("info", "one of them read"),
    "names-unknown": Kind("warning", "classes called by their numbers"),
    "shape-boxed": Kind("info", "the enclosing box taken"),
    "hidden-files": Kind("info", "passed over"),
    "further-frames": Kind("info", "the first one taken"),
    "image-without-objects": Kind("info", "taken as it is"),
}
# A picture of these is not in the data.
_SKIPPED = frozenset(("unreadable-image", "missing-image", "missing-labels", "wrong-size"))


@dataclass(frozen=True)
class Fault:
    """One fault of a data set.

    Attributes:
        kind: a key of ``KINDS``.
        path: the picture or annotation file.
        message: what is wrong, without the path.
        split: the split it was found in, or "".
        count: how many pictures, boxes or files it is about.
    """

    kind: str
    path: Path
    message: str
    split: str = ""
    count: int = 1

    @property
    def level(self) -> str:
        """The kind's level."""
        return KINDS[self.kind].level

    def __str__(self) -> str:
        return printable(f"{self.path}: {self.message}")


class FaultList(list[Fault]):
    """Faults in the order they were found."""

    def report(self, kind: str, path: Path, message: str, split: str = "", count: int = 1) -> None:
        """Add a fault."""
        self.append(Fault(kind, path, message, split, count))

    @property
    def skipped(self) -> list[tuple[Path, str]]:
        """Pictures that are not in the data, as (path, reason)."""
        return [(fault.path, fault.message) for fault in self if fault.kind in _SKIPPED]

    def refuse(self) -> None:
        """Stop at labels that cannot be trusted.

        Raises:
            DataError: there are such; the first is named.
        """
        refused = [fault for fault in self if KINDS[fault.kind].refused]
        if refused:
            more = f" and {len(refused) - 1} more" if len(refused) > 1 else ""
            raise DataError(f"{refused[0]}{more} (`ghostyolo data check` lists every such fault)")

    def lines(self) -> list[str]:
        """Return a line for each split and kind: count, effect, the first."""
        groups: dict[tuple[str, str], list[Fault]] = {}
        for fault in self:
            if fault.kind != "image-without-objects":
                groups.setdefault((fault.split, fault.kind), []).append(fault)
        lines = []
        for (split, kind), faults in groups.items():
            count = sum(fault.count for fault in faults)
            first = "" if len(faults) == 1 else "first "
            prefix = f"{split}: " if split else ""
            lines.append(f"{prefix}{count} {kind}, {KINDS[kind].effect}: {first}{faults[0]}")
        return lines
