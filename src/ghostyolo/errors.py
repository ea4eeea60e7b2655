"""Errors that a user can act on: what is wrong, where, what to do.

The command line prints ``str(error)`` and exits with the error's status, 2 unless it says otherwise; a traceback
appears only with ``--debug``.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class GhostYoloError(Exception):
    """Base of every error this package raises on purpose."""

    exit_status = 2


class ConfigError(GhostYoloError):
    """An option, key or name that is unknown, of the wrong type or impossible."""


class DataError(GhostYoloError):
    """A data set that is missing, empty or cannot be read as one."""


class NoSplitError(DataError):
    """A split that a data set does not have."""


class SourceError(GhostYoloError):
    """A picture, video, folder or URL that cannot be read for prediction."""


class WeightsError(GhostYoloError):
    """A weights file that is missing, damaged, not ours or misnamed."""


class TrainingError(GhostYoloError):
    """Training cannot start, go on or resume."""


class OutputError(GhostYoloError):
    """A result cannot be written: no space, no permission, or the place is taken."""


class ExportError(GhostYoloError):
    """A network that a format, or the library that writes it, cannot take."""


class ParityError(ExportError):
    """An exported file that does not give the network's answers; it is kept aside."""

    exit_status = 3


class MissingExtraError(GhostYoloError):
    """A command needs packages that this install does not have."""


def suggest(name: str, valid: Iterable[str], count: int = 3) -> str:
    """Return ``"did you mean a, b?"`` for the nearest names, else all valid ones."""
    choices = sorted(valid)
    near = difflib.get_close_matches(name, choices, n=count, cutoff=0.5)
    if near:
        return f"did you mean {', '.join(near)}?"
    return f"valid: {', '.join(choices)}"


def short(value: object) -> str:
    """Return a value as text of at most 60 characters, cut off with dots."""
    text = str(value)
    return text if len(text) <= 60 else text[:57] + "..."


def short_list(names: Iterable[str]) -> str:
    """Return ``"[a, b, c]"`` in at most 62 characters, then dots."""
    return f"[{short(', '.join(names))}]"
