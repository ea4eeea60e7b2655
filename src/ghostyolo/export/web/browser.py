"""Runs a page's detector in a browser of this machine.

Without a window, to compare it and to time it.
"""

from __future__ import annotations

import json
import os
import queue
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import numpy.typing as npt

from ghostyolo.errors import ExportError
from ghostyolo.export.web.server import PageServer

if TYPE_CHECKING:
    import supervision

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "msedge")
_PATIENCE = 300  # seconds for a whole run
_CHECK = b'<!doctype html><meta charset="utf-8"><title>check</title><script type="module" src="check.js"></script>'


class BrowserError(ExportError):
    """The browser did not answer, or the page failed in it."""


def find_browser() -> str | None:
    """Return the program of a Chromium on the PATH; None: there is none."""
    return next((place for name in BROWSERS if (place := shutil.which(name))), None)


def run_in_browser(
    program: str,
    folder: Path,
    pictures: Sequence[npt.NDArray[np.uint8]],
    confidence: float,
    *,
    threads: int | None = None,
    runs: int = 1,
) -> dict[str, Any]:
    """Detect on pictures in WebAssembly, through all of the page but its window.

    Args:
        program: of :func:`find_browser`.
        folder: of the page.
        pictures: (H, W, 1 or 3) uint8 RGB.
        confidence: least score.
        threads: of WebAssembly; None: as the page chooses.
        runs: how often each picture is detected on.

    Returns:
        ``opened`` (``runOn``, ``threads``), ``browser``, and for each of ``pictures`` its ``detections`` (``box``,
        ``score``, ``label``) and the ``milliseconds`` of each run.

    Raises:
        BrowserError: no answer in five minutes, or the page's own failure.
    """
    task = {"pictures": len(pictures), "confidence": confidence, "run_on": "wasm", "threads": threads, "runs": runs}
    extra = {
        "/check.html": _CHECK,
        "/check.js": Path(__file__).with_name("check.js").read_bytes(),
        "/check.json": json.dumps(task).encode(),
        **{f"/picture-{number}.png": _png(picture) for number, picture in enumerate(pictures)},
    }
    answers: queue.Queue[bytes] = queue.Queue()
    server = PageServer(folder, extra=extra, receive=answers.put)
    server.start()
    try:
        with tempfile.TemporaryDirectory(prefix="ghostyolo-browser-", ignore_cleanup_errors=True) as profile:
            answer = json.loads(_ask(program, f"{server.url}check.html", profile, answers))
    finally:
        server.stop()
    if "error" in answer:
        raise BrowserError(f"the page failed in {program}: {answer['error']}")
    return dict(answer)


def _ask(program: str, url: str, profile: str, answers: queue.Queue[bytes]) -> bytes:
    options = ["--headless=new", f"--user-data-dir={profile}", "--no-first-run", "--disable-background-networking"]
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        options.append("--no-sandbox")  # its sandbox refuses to start for root
    browser = subprocess.Popen(
        [program, *options, url], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        for _ in range(_PATIENCE):
            try:
                return answers.get(timeout=1)
            except queue.Empty:
                if browser.poll() is not None:
                    raise BrowserError(f"{program} ended with status {browser.returncode} without an answer") from None
        raise BrowserError(f"{program} gave no answer in {_PATIENCE} seconds")
    finally:
        browser.terminate()
        try:
            browser.wait(10)
        except subprocess.TimeoutExpired:
            browser.kill()
            browser.wait()


def _png(picture: npt.NDArray[np.uint8]) -> bytes:
    channels_reversed = picture if picture.shape[2] == 1 else np.ascontiguousarray(picture[:, :, ::-1])
    return bytes(cv2.imencode(".png", channels_reversed)[1].tobytes())


def detect_with_page(
    folder: Path, pictures: Sequence[npt.NDArray[np.uint8]], confidence: float
) -> list[supervision.Detections] | str:
    """What the page finds on pictures; a text where it cannot be asked: why.

    Raises:
        BrowserError: there is a browser, but the page fails in it.
    """
    import supervision

    program = find_browser()
    if program is None:
        return "no Chromium is on this machine"
    results = []
    for picture in run_in_browser(program, folder, pictures, confidence)["pictures"]:
        found = picture["detections"]
        results.append(
            supervision.Detections(
                xyxy=np.array([one["box"] for one in found], np.float32).reshape(-1, 4),
                confidence=np.array([one["score"] for one in found], np.float32),
                class_id=np.array([one["label"] for one in found], np.int64),
            )
        )
    return results
