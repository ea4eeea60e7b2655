"""An export that cannot be finished on this machine, but leaves a file from which another one can."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ghostyolo.errors import ExportError


class Unfinished(ExportError):
    """Raised by a writer.

    Args:
        left: the file, in the writer's temporary folder; it is moved beside the target under its name.
        explain: the message, given the file's new place.
    """

    def __init__(self, left: Path, explain: Callable[[Path], str]) -> None:
        super().__init__(explain(left))
        self.left = left
        self.explain = explain
