"""Lines that objects cross and zones that they enter, counted by class and direction.

Points are pixels of the picture, or fractions of it where all are within 0..1. An object is where its box has its
centre. Seen from a line's start to its end, *in* is to the left and *out* to the right. Of a zone an object is counted
once, when it is first seen inside.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import numpy.typing as npt

from ghostyolo.config import read_yaml
from ghostyolo.errors import ConfigError, suggest
from ghostyolo.runtime.tracking import track_numbers

if TYPE_CHECKING:
    import supervision

_STEADY_FRAMES = 2  # on the other side of a line before it counts, so that a box that trembles on it does not
_FORGET_SECONDS = 60.0  # a track that was away so long does not come back
_COLOUR, _TEXT, _SHADE = (255, 200, 60), (20, 20, 20), (255, 200, 60)


@dataclass(frozen=True)
class Region:
    """A line or a zone.

    Attributes:
        name: as it is shown.
        points: two of a line, three or more of a zone.
    """

    name: str
    points: tuple[tuple[float, float], ...]

    @property
    def is_line(self) -> bool:
        """Whether it is a line, not a zone."""
        return len(self.points) == 2

    def pixels(self, width: int, height: int) -> npt.NDArray[np.float64]:
        """The points in pixels of a picture: (N, 2).

        Raises:
            ConfigError: some lie outside it.
        """
        points = np.array(self.points)
        if points.max() <= 1:
            return points * (width - 1, height - 1)
        if (points > (width, height)).any():
            raise ConfigError(f"'{self.name}' lies outside the picture, which is {width} x {height}")
        return np.minimum(points, (width - 1, height - 1))


@dataclass(frozen=True)
class Count:
    """How many objects of a class passed a region in a direction.

    Attributes:
        direction: "in" or "out" of a line, "entered" of a zone.
    """

    region: str
    direction: str
    class_name: str
    count: int

    def to_dict(self) -> dict[str, Any]:
        """Plain values by the names that files have."""
        return {"region": self.region, "direction": self.direction, "class": self.class_name, "count": self.count}


def parse_region(text: str, kind: str, number: int) -> Region:
    """Read ``[NAME=]x1,y1,x2,y2,...``.

    Args:
        kind: "line" or "zone".
        number: names it, where it has no name.

    Raises:
        ConfigError: a text of another form.
    """
    name, equals, points = text.rpartition("=")
    try:
        values = [float(value) for value in points.split(",")]
    except ValueError:
        raise ConfigError(f"{kind} '{text}': write {_form(kind)}") from None
    return make_region(name if equals else f"{kind} {number}", values, kind)


def make_region(name: str, values: Any, kind: str) -> Region:
    """Make a region of its numbers.

    Raises:
        ConfigError: too few, an odd number, negative ones, or no area.
    """
    numbers = isinstance(values, list) and all(isinstance(one, int | float) for one in values)
    right = numbers and len(values) % 2 == 0 and (len(values) == 4 if kind == "line" else len(values) >= 6)
    if not right or not name:
        raise ConfigError(f"{kind} '{name}' is {values!r}: write {_form(kind)}")
    if not np.isfinite(values).all() or min(values) < 0:
        raise ConfigError(f"{kind} '{name}' lies outside the picture: {values}")
    points = tuple(zip(values[::2], values[1::2], strict=True))
    if len(set(points)) < len(points):
        raise ConfigError(f"{kind} '{name}' has the same point twice: {values}")
    return Region(name, points)


def find_regions(lines: Iterable[str], zones: Iterable[str], path: str | None) -> list[Region]:
    """Read the regions that options and a YAML file name.

    The file has ``lines:`` and ``zones:``, each ``NAME: [x1, y1, x2, y2, ...]``.

    Raises:
        ConfigError: a region of another form, or a name twice.
    """
    regions = [parse_region(text, "line", number) for number, text in enumerate(lines, 1)]
    regions += [parse_region(text, "zone", number) for number, text in enumerate(zones, 1)]
    content: Mapping[str, Any] = read_yaml(path, "file of regions") if path is not None else {}
    for key, named in content.items():
        if key not in ("lines", "zones"):
            raise ConfigError(f"{path}: unknown key '{key}': {suggest(key, ('lines', 'zones'))}")
        if not isinstance(named, dict):
            raise ConfigError(f"{path}: '{key}' must be 'NAME: [x1, y1, ...]' lines")
        regions += [make_region(str(name), values, key[:-1]) for name, values in named.items()]
    names = [region.name for region in regions]
    if doubled := [name for name in names if names.count(name) > 1]:
        raise ConfigError(f"two regions are called '{doubled[0]}'")
    return regions


class RegionCounter:
    """Counts the tracks of one source.

    Args:
        regions: what to count at.
    """

    def __init__(self, regions: Iterable[Region]) -> None:
        self.regions = list(regions)
        self._size: tuple[int, int] | None = None
        self._lines: dict[str, Any] = {}
        self._zones: dict[str, Any] = {}
        self._entered: dict[tuple[str, int], float] = {}
        self._totals: Counter[tuple[str, str, str]] = Counter()
        self._counts: tuple[Count, ...] = ()

    def update(
        self, detections: supervision.Detections, size: tuple[int, int], seconds: float
    ) -> tuple[tuple[Count, ...], dict[str, int]]:
        """Look at the next frame.

        Args:
            detections: with ``tracker_id`` and ``data["class_name"]``.
            size: width and height of the picture.
            seconds: its time.

        Returns:
            All counts so far, and how many objects are in each zone now.

        Raises:
            ConfigError: a region lies outside the picture.
        """
        if size != self._size:
            self._fit(size)
        tracks = track_numbers(detections)
        names = detections.data["class_name"] if len(detections) else []
        before = self._totals.total()
        inside = {}
        for region, line in self._lines.items():
            for direction, crossed in zip(("in", "out"), line.trigger(detections), strict=True):
                for place in np.flatnonzero(crossed):
                    self._totals[region, direction, str(names[place])] += 1
        for region, zone in self._zones.items():
            places = np.flatnonzero(zone.trigger(detections))
            inside[region] = len(places)
            for place in places:
                track = tracks[place]
                if track is not None:
                    if (region, track) not in self._entered:
                        self._totals[region, "entered", str(names[place])] += 1
                    self._entered[region, track] = seconds
        if self._entered:
            self._entered = {key: seen for key, seen in self._entered.items() if seconds - seen < _FORGET_SECONDS}
        if self._totals.total() != before:
            self._counts = tuple(Count(*key, count) for key, count in sorted(self._totals.items()))
        return self._counts, inside

    def _fit(self, size: tuple[int, int]) -> None:
        import supervision

        self._size = size
        centre = (supervision.Position.CENTER,)
        for region in self.regions:
            points = region.pixels(*size)
            if region.is_line:
                start, end = (supervision.Point(*point) for point in points)
                self._lines[region.name] = supervision.LineZone(start, end, centre, _STEADY_FRAMES)
            else:
                polygon = np.rint(points).astype(int)
                self._zones[region.name] = supervision.PolygonZone(polygon, centre)


def draw_regions(
    image: npt.NDArray[np.uint8], regions: Iterable[Region], counts: Iterable[Count], inside: Mapping[str, int]
) -> npt.NDArray[np.uint8]:
    """Draw regions with their counts.

    Args:
        image: (H, W, 3) uint8 RGB; drawn on.
    """
    height, width = image.shape[:2]
    side = (height * width) ** 0.5
    thickness, scale = max(2, round(side / 300)), max(0.4, side / 1300)
    totals: Counter[tuple[str, str]] = Counter()
    for count in counts:
        totals[count.region, count.direction] += count.count
    for region in regions:
        points = np.rint(region.pixels(width, height)).astype(np.int32)
        if region.is_line:
            cv2.line(image, points[0].tolist(), points[1].tolist(), _COLOUR, thickness, cv2.LINE_AA)
            words = f"{region.name}: in {totals[region.name, 'in']}, out {totals[region.name, 'out']}"
            _arrow(image, points, thickness)
        else:
            shade = image.copy()
            cv2.fillPoly(shade, [points], _SHADE)
            cv2.addWeighted(shade, 0.15, image, 0.85, 0, dst=image)
            cv2.polylines(image, [points], True, _COLOUR, thickness, cv2.LINE_AA)
            words = f"{region.name}: {inside.get(region.name, 0)} now, {totals[region.name, 'entered']} entered"
        _write(image, words, points[-1] if region.is_line else points[points[:, 1].argmin()], scale)
    return image


def _arrow(image: npt.NDArray[np.uint8], points: npt.NDArray[np.int32], thickness: int) -> None:
    """Point to where *in* is, from the line's quarter."""
    start, end = points.astype(float)
    along = end - start
    length = float(np.hypot(*along)) or 1.0
    left = np.array([along[1], -along[0]]) / length
    foot = start + along / 4
    tip = foot + left * max(16.0, thickness * 10)
    cv2.arrowedLine(
        image, np.rint(foot).astype(int).tolist(), np.rint(tip).astype(int).tolist(), _COLOUR, thickness, cv2.LINE_AA,
        tipLength=0.4,
    )  # fmt: skip


def _write(image: npt.NDArray[np.uint8], words: str, centre: npt.NDArray[np.floating], scale: float) -> None:
    weight = max(1, round(scale * 1.5))
    (width, height), base = cv2.getTextSize(words, cv2.FONT_HERSHEY_SIMPLEX, scale, weight)
    pad = max(2, round(scale * 6))
    left = int(np.clip(centre[0] - width / 2, pad, max(pad, image.shape[1] - width - pad)))
    bottom = int(np.clip(centre[1] + height / 2, height + pad, max(height + pad, image.shape[0] - base - pad)))
    cv2.rectangle(image, (left - pad, bottom - height - pad), (left + width + pad, bottom + base), _COLOUR, -1)
    cv2.putText(image, words, (left, bottom), cv2.FONT_HERSHEY_SIMPLEX, scale, _TEXT, weight, cv2.LINE_AA)


def _form(kind: str) -> str:
    points = "x1,y1,x2,y2" if kind == "line" else "x1,y1,x2,y2,x3,y3,..."
    return f"[NAME=]{points}, in pixels or as fractions of the picture"
