"""Fetches a published file once, checks it, and keeps the checkpoint that it becomes."""

from __future__ import annotations

import http.client
import logging
import os
import urllib.error
import urllib.request
from pathlib import Path

from ghostyolo._version import __version__
from ghostyolo.errors import OutputError, WeightsError
from ghostyolo.extras import require
from ghostyolo.files import cache_folder, sha256_of
from ghostyolo.integrations.published.releases import RELEASES

log = logging.getLogger(__name__)

_PIECE = 1 << 18  # bytes
_PATIENCE = 30  # seconds without a byte
_RANGE_NOT_SATISFIABLE = 416


def fetch_published(name: str) -> Path:
    """Return the checkpoint of published weights by name.

    It is fetched and imported where the cache does not have it.

    Args:
        name: one of :data:`RELEASES`.

    Raises:
        WeightsError: no network, an interrupted download, or a file with another checksum or other layers.
        MissingExtraError: importing needs the train extra.
        OutputError: the cache cannot be written.
    """
    target = cache_folder() / "weights" / f"{name}.safetensors"
    if target.is_file():
        return target
    require("train", f"importing the published weights {name}")
    from ghostyolo.integrations.published.importer import import_checkpoint

    release = RELEASES[name]
    file = target.with_name(f"{name}-as-published{Path(release.url).suffix}")
    log.warning("%s: weights of its makers, %s, from %s", name, release.licence, release.url)
    download(release.url, file, release.sha256)
    try:
        import_checkpoint(file, name, target)
    finally:
        file.unlink(missing_ok=True)
    return target


def download(url: str, target: Path, sha256: str = "") -> None:
    """Fetch a file; a download that was interrupted goes on where it stopped.

    Args:
        target: appears whole; until then its bytes are in ``TARGET.part``.
        sha256: that it must have; empty: not known, and what it has is said.

    Raises:
        WeightsError: no network, the server's refusal, an interrupted download, or another checksum.
        OutputError: the folder cannot be written.
    """
    part = target.with_name(f"{target.name}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        have = part.stat().st_size if part.exists() else 0
        _fetch(url, part, have)
    except urllib.error.HTTPError as error:
        raise WeightsError(f"{url} cannot be fetched: the server says {error.code} {error.reason}") from error
    except urllib.error.URLError as error:
        raise WeightsError(
            f"{url} cannot be reached ({error.reason}): fetch it on another machine, and give it to ghostyolo import"
        ) from error
    except (TimeoutError, ConnectionError, http.client.HTTPException) as error:
        raise _interrupted(url, part) from error
    except OSError as error:
        raise OutputError(
            f"cannot write {part}: {error.strerror or error}; free some space or set XDG_CACHE_HOME"
        ) from error
    found = sha256_of(part)
    if sha256 and found != sha256:
        part.unlink()
        raise WeightsError(f"{url} is not the file that was published: SHA-256 {found}, not {sha256}; it was not kept")
    if not sha256:
        log.warning("no checksum of %s is known here; it has SHA-256 %s: compare it with its makers'", url, found)
    os.replace(part, target)


def _fetch(url: str, part: Path, have: int) -> None:
    """Add what is missing to a part."""
    from rich.console import Console
    from rich.progress import Progress

    headers = {"User-Agent": f"ghostyolo/{__version__}", **({"Range": f"bytes={have}-"} if have else {})}
    try:
        response = urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=_PATIENCE)
    except urllib.error.HTTPError as error:
        if not have or error.code != _RANGE_NOT_SATISFIABLE:
            raise
        part.unlink()  # of another file than the server has now
        return _fetch(url, part, 0)
    console = Console(stderr=True)
    with response, Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        goes_on = response.status == http.HTTPStatus.PARTIAL_CONTENT
        have = have if goes_on else 0
        length = response.headers.get("Content-Length")
        total = have + int(length) if length and length.isdecimal() else None
        task = progress.add_task(url.rpartition("/")[2], total=total, completed=have)
        with part.open("ab" if goes_on else "wb") as file:
            while piece := response.read(_PIECE):
                file.write(piece)
                progress.advance(task, len(piece))
    if total is not None and part.stat().st_size < total:
        raise _interrupted(url, part, total)
    return None


def _interrupted(url: str, part: Path, total: int | None = None) -> WeightsError:
    have = part.stat().st_size if part.exists() else 0
    whole = f" of {total / 1e6:.1f}" if total else ""
    return WeightsError(
        f"the download of {url} stopped at {have / 1e6:.1f}{whole} MB: the same command goes on from there"
    )
