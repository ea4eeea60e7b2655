"""The pictures with the worst mistakes, as one HTML page.

The page needs no other file.

A mistake is judged at IoU 0.5 and at the given confidences. A picture's error is one for each missed object, and for
each wrong box its score: so objects that nobody labelled come first too, since a sure wrong box is often a right one.
"""

from __future__ import annotations

import base64
import html
import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from ghostyolo.data.records import ImageRecord
from ghostyolo.errors import DataError
from ghostyolo.evaluate.detections import ImageDetections, box_overlaps
from ghostyolo.evaluate.evaluation import EvaluationResult, ImageLoader
from ghostyolo.evaluate.true_positives import RIGHT, WRONG, match_objects
from ghostyolo.files import write_text
from ghostyolo.text import printable

log = logging.getLogger(__name__)

PAGE = "worst.html"
PICTURES = 20
IOU = 0.5
_TOUCHES = 0.1  # IoU from which on a wrong box is one that is badly placed
_SIDE, _QUALITY = 800, 82

# Kind -> (what it is, colour, dashed).
KINDS = {
    "right": ("found", "#2e9e5b", False),
    "missed": ("missed", "#e23b3b", True),
    "false": ("nothing labelled there", "#f08c00", False),
    "place": ("badly placed (IoU under 0.5)", "#8e5cd9", False),
    "class": ("another class", "#1c7ed6", False),
    "double": ("found twice", "#a67c52", False),
}


@dataclass(frozen=True)
class Mark:
    """A box on a picture.

    Attributes:
        kind: a key of :data:`KINDS`.
        box_xyxy: in pixels of the picture.
        text: class and score.
    """

    kind: str
    box_xyxy: tuple[float, float, float, float]
    text: str


@dataclass
class JudgedPicture:
    """A picture with its mistakes.

    Attributes:
        record: of the data set.
        marks: found and missed objects, and wrong boxes.
        error: missed objects, and the scores of wrong boxes.
    """

    record: ImageRecord
    marks: list[Mark] = field(default_factory=list)
    error: float = 0.0

    @property
    def counts(self) -> Counter[str]:
        """How many marks of each kind."""
        return Counter(mark.kind for mark in self.marks)


def judge(
    record: ImageRecord,
    detections: ImageDetections,
    class_names: Sequence[str],
    confidences: npt.NDArray[np.float64],
) -> JudgedPicture:
    """Find the mistakes of one picture.

    Args:
        confidences: (classes,) detections of less are not reported.
    """
    keep = detections.scores >= confidences[detections.labels]
    shown = ImageDetections(detections.boxes_xyxy[keep], detections.scores[keep], detections.labels[keep])
    verdict, is_found = match_objects(record, shown, IOU)
    overlaps = box_overlaps(shown.boxes_xyxy, record.boxes_xyxy, record.crowd)
    picture = JudgedPicture(record)
    for place in np.flatnonzero(~is_found & ~record.ignore):
        picture.marks.append(Mark("missed", _box(record.boxes_xyxy[place]), class_names[record.labels[place]]))
        picture.error += 1
    for place in np.flatnonzero(verdict != RIGHT):
        if verdict[place] != WRONG:
            continue
        kind, other = _kind(overlaps[place], record.labels == shown.labels[place])
        text = f"{class_names[shown.labels[place]]} {shown.scores[place]:.2f}"
        if kind == "class":
            text += f" (is {class_names[record.labels[other]]})"
        picture.marks.append(Mark(kind, _box(shown.boxes_xyxy[place]), text))
        picture.error += float(shown.scores[place])
    for place in np.flatnonzero(verdict == RIGHT):
        text = f"{class_names[shown.labels[place]]} {shown.scores[place]:.2f}"
        picture.marks.append(Mark("right", _box(shown.boxes_xyxy[place]), text))
    return picture


def write_worst_pictures(
    result: EvaluationResult,
    confidences: npt.NDArray[np.float64],
    path: str | Path,
    *,
    title: str,
    lines: Sequence[str] = (),
    pictures: int = PICTURES,
    load_image: ImageLoader | None = None,
) -> int:
    """Write the page.

    Args:
        result: from :func:`ghostyolo.evaluate.evaluate`.
        confidences: (classes,) detections of less are not reported.
        path: of the page.
        title: of the page.
        lines: what else stands above the pictures.
        pictures: at most so many.
        load_image: as in :func:`ghostyolo.evaluate.evaluate`.

    Returns:
        How many pictures are on it; those without a mistake never are.

    Raises:
        OutputError: the page cannot be written.
    """
    judged = [
        judge(record, found, result.class_names, confidences)
        for record, found in zip(result.records, result.detections, strict=True)
    ]
    order = sorted(range(len(judged)), key=lambda place: (-judged[place].error, str(judged[place].record.path)))
    worst = [judged[place] for place in order if judged[place].error > 0][:pictures]
    cards = [card for place, picture in enumerate(worst, 1) if (card := _card(place, picture, load_image))]
    totals = sum((picture.counts for picture in judged), Counter())
    flawless = sum(not picture.error for picture in judged)
    head = [*lines, f"{len(judged)} pictures, {flawless} of them without a mistake"]
    write_text(path, _page(title, head, totals, cards))
    return len(cards)


def _kind(overlaps: npt.NDArray[np.float64], same_class: npt.NDArray[np.bool_]) -> tuple[str, int]:
    """The kind of a wrong box, and the object that it is nearest to."""
    if not len(overlaps):
        return "false", -1
    for kind, candidates, least in (
        ("double", same_class, IOU),
        ("class", ~same_class, IOU),
        ("place", same_class, _TOUCHES),
    ):
        near = np.where(candidates, overlaps, 0)
        if near.max() >= least:
            return kind, int(near.argmax())
    return "false", -1


def _box(box: npt.NDArray[np.float32]) -> tuple[float, float, float, float]:
    x1, y1, x2, y2 = (float(corner) for corner in box)
    return x1, y1, x2, y2


def _card(place: int, picture: JudgedPicture, load_image: ImageLoader | None) -> str | None:
    """A picture of the page; None where its file cannot be read any more."""
    record = picture.record
    try:
        if load_image is None:
            from ghostyolo.data.images import read_image

            image = read_image(record.path)
        else:
            image = load_image(record)
    except (DataError, OSError) as error:
        log.warning("not on the page: %s", error)
        return None
    height, width = image.shape[:2]
    counts = picture.counts
    said = ", ".join(f"{counts[kind]} {KINDS[kind][0]}" for kind in KINDS if counts[kind])
    unit = max(width, height)
    marks = "".join(_svg(mark, width, unit) for mark in sorted(picture.marks, key=lambda mark: mark.kind != "right"))
    name = html.escape(printable(record.path.name))
    return (
        f'<figure><label><input type="checkbox" aria-label="enlarge {name}">'
        f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{name}: {html.escape(said)}">'
        f'<image width="{width}" height="{height}" href="data:image/jpeg;base64,{_jpeg(image)}"/>{marks}</svg></label>'
        f'<figcaption><b>{place}</b> <span title="{html.escape(printable(str(record.path)))}">{name}</span>'
        f"<small>error {picture.error:.1f}: {html.escape(said)}</small></figcaption></figure>"
    )


def _svg(mark: Mark, width: int, unit: int) -> str:
    x1, y1, x2, y2 = mark.box_xyxy
    size = unit / 42
    text = html.escape(mark.text)
    length = 0.56 * size * len(mark.text) + 0.5 * size
    left = max(0.0, min(x1, width - length))
    top = y1 - 1.25 * size if y1 >= 1.25 * size else y1
    return (
        f'<g class="{mark.kind}"><rect x="{x1:.1f}" y="{y1:.1f}" width="{x2 - x1:.1f}" height="{y2 - y1:.1f}"/>'
        f'<rect class="tag" x="{left:.1f}" y="{top:.1f}" width="{length:.1f}" height="{1.25 * size:.1f}"/>'
        f'<text x="{left + 0.25 * size:.1f}" y="{top + 0.95 * size:.1f}" font-size="{size:.1f}">{text}</text></g>'
    )


def _jpeg(image: npt.NDArray[Any]) -> str:
    """A picture as base64, its longer side at most 800 pixels."""
    if image.ndim == 2 or image.shape[2] < 3:
        image = np.repeat(image.reshape(*image.shape[:2], -1)[:, :, :1], 3, axis=2)
    height, width = image.shape[:2]
    scale = min(1.0, _SIDE / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = cv2.resize(np.ascontiguousarray(image[:, :, 2::-1]), size, interpolation=cv2.INTER_AREA)
    return base64.b64encode(cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1].tobytes()).decode()


def _page(title: str, lines: Sequence[str], totals: Counter[str], cards: Sequence[str]) -> str:
    title = html.escape(title)
    said = "".join(f"<p>{html.escape(line)}</p>" for line in lines)
    switches = "".join(
        f'<label class="switch {kind}"><input type="checkbox" id="{kind}" checked><i></i>{totals[kind]} '
        f"{html.escape(name)}</label>"
        for kind, (name, _, _) in KINDS.items()
    )
    colours = "".join(
        f".{kind}{{--c:{colour}}}" + (f".{kind}>rect:first-child{{stroke-dasharray:6 4}}" if dashed else "")
        + f"body:has(#{kind}:not(:checked)) g.{kind}{{display:none}}"
        for kind, (_, colour, dashed) in KINDS.items()
    )  # fmt: skip
    body = "".join(cards) or "<p>No picture has a mistake.</p>"
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{_STYLE}{colours}</style></head><body><header><h1>{title}</h1>{said}"
        f'<div class="switches">{switches}</div><p class="hint">A switch shows or hides the boxes of its kind; a click '
        "enlarges a picture. A picture's error is one for each missed object, and for each wrong box its score.</p>"
        f"</header><main>{body}</main></body></html>\n"
    )


_STYLE = (
    ":root{color-scheme:light dark;--back:#f6f7f9;--card:#fff;--ink:#1b1f24;--faint:#69707a;--line:#dfe3e8}"
    "@media(prefers-color-scheme:dark){:root{--back:#14171b;--card:#1d2127;--ink:#e8eaed;--faint:#9aa1ab;--line:#30353d}}"
    "*{box-sizing:border-box}body{margin:0;background:var(--back);color:var(--ink);"
    "font:15px/1.5 system-ui,-apple-system,'Segoe UI',Roboto,sans-serif}"
    "header{max-width:1500px;margin:0 auto;padding:28px 24px 8px}h1{font-size:22px;margin:0 0 6px}p{margin:2px 0}"
    ".hint{color:var(--faint);font-size:13px}"
    ".switches{display:flex;flex-wrap:wrap;gap:8px;margin:14px 0 10px}"
    ".switch{display:inline-flex;align-items:center;gap:7px;padding:4px 12px 4px 9px;border:1px solid var(--line);"
    "border-radius:999px;background:var(--card);cursor:pointer;font-size:13px}"
    ".switch input{position:absolute;opacity:0}"
    ".switch i{width:12px;height:12px;border-radius:3px;border:2px solid var(--c)}"
    ".switch input:checked+i{background:var(--c)}"
    ".switch input:focus-visible+i{outline:2px solid var(--ink);outline-offset:2px}"
    "main{max-width:1500px;margin:0 auto;padding:8px 24px 40px;display:grid;gap:18px;"
    "grid-template-columns:repeat(auto-fill,minmax(min(420px,100%),1fr))}"
    "figure{margin:0;background:var(--card);border:1px solid var(--line);border-radius:10px;overflow:hidden}"
    "figure:has(input:checked){grid-column:1/-1}figure label{display:block;cursor:zoom-in}"
    "figure input{position:absolute;opacity:0}figure:has(input:focus-visible){outline:2px solid var(--ink)}"
    "figure svg{display:block;width:100%;max-height:70vh;background:#000}figure:has(input:checked) svg{max-height:none}"
    "figcaption{padding:9px 13px 11px;overflow-wrap:anywhere}figcaption b{display:inline-block;min-width:1.4em}"
    "figcaption small{display:block;color:var(--faint)}"
    "g rect{fill:none;stroke:var(--c);stroke-width:2;vector-effect:non-scaling-stroke}"
    "g .tag{fill:var(--c);stroke:none;opacity:.88}g text{fill:#fff;font-family:system-ui,sans-serif;font-weight:600}"
    "g.right .tag,g.right text{opacity:.0}figure:has(input:checked) g.right .tag{opacity:.88}"
    "figure:has(input:checked) g.right text{opacity:1}"
)
