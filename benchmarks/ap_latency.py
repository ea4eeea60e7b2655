"""The README's first table and picture: what the detectors here cost, and how well they do on two data sets.

    python benchmarks/ap_latency.py
    python benchmarks/ap_latency.py --print --results OTHER_FOLDER

Nothing is measured: results of four other scripts are joined by model. family.json: parameters, FLOPs, and latency as
a multiple of YOLO26-n's. accuracy.json (ours) and peer_accuracy.json: AP, mean over the seeds, at the data set's
recipe's size and epochs alone; ours trained in the way (branches, learning rate, epochs without mosaic, range of
scales) that has most seeds, of those the highest mean, since none costs anything after deployment. training_speed.json:
seconds and memory of training as multiples of YOLO26-n's, at the number of branches whose AP is shown (BCCD's where
both are). A dash where nothing was measured.

YOLOv13-N's row has the cost and latency of our exact copy, and the accuracy of the released package; the copy's own
accuracy, trained as ours are, has a row beside it.
Writes the table into README.md and README.zh-CN.md, and docs/images/ap-latency.png.
"""

from __future__ import annotations

import argparse
import statistics
from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from accuracy import RECIPES, WAYS
from ghostyolo.benchmark.picture import write_names
from ghostyolo.evaluate.plots.style import PALETTE, figure_file
from report import REPOSITORY, RESULTS, Row, markdown, read_rows, write_between

PICTURE = REPOSITORY / "docs" / "images" / "ap-latency.png"
DATA = {"bccd": "BCCD", "neu-det": "NEU-DET"}
REFERENCE = "yolo26n"
OURS, PEERS = PALETTE[0], PALETTE[1]


@dataclass(frozen=True)
class Detector:
    """A row of the table.

    Attributes:
        title: what the table calls it.
        latency: its name in family.json.
        accuracy: its name in accuracy.json (ours) or peer_accuracy.json (peers).
        speed: its name in training_speed.json.
        ours: whether it is trained by ``ghostyolo train``.
    """

    title: str
    latency: str
    accuracy: str
    speed: str
    ours: bool


@dataclass(frozen=True)
class Point:
    """One detector.

    Attributes:
        name: its label.
        latency: as a multiple of YOLO26-n's.
        AP: in 0..1.
        ours: drawn apart from the peers, and joined by the front.
    """

    name: str
    latency: float
    AP: float
    ours: bool


def ours(name: str) -> Detector:
    """A detector of ours has one name everywhere."""
    return Detector(name, name, name, name, True)


def peer(title: str, name: str, accuracy: str | None = None) -> Detector:
    """A detector of the released ``ultralytics`` package, or of a package made from it."""
    return Detector(title, name, accuracy or name, f"ultralytics {name}", False)


DETECTORS = [
    *(ours(f"ghostyolo-{scale}") for scale in ("p", "n", "s", "m", "l")),
    ours("yolov13n-ghostnetv3"),
    replace(ours("yolov13n"), title="YOLOv13-N, our training"),
    replace(ours("ghostyolo-n-dense"), title="dense control of n"),
    peer("YOLO26-n", REFERENCE),
    peer("YOLO11-n", "yolo11n"),
    peer("YOLO26-s", "yolo26s"),
    peer("YOLOv13-N", "yolov13n", "released yolov13n"),
]
# Key of a row -> (format, the Chinese README's word for it).
COLUMNS = {
    "model": ("", "模型"),
    "params, M": (".2f", "参数量, M"),
    "FLOPs, G": (".2f", "FLOPs, G"),
    "ONNX Runtime": (".2f", "ONNX Runtime"),
    "OpenVINO": (".2f", "OpenVINO"),
    "AP BCCD (seeds)": ("", "BCCD AP (种子数)"),
    "AP NEU-DET (seeds)": ("", "NEU-DET AP (种子数)"),
    "training time a picture": (".2f", "每张图片的训练时间"),
    "training memory": (".2f", "训练内存"),
}


@dataclass(frozen=True)
class Accuracy:
    """Mean AP over seeds of one model on one data set, and the number of branches it was reached with."""

    AP: float
    seeds: int
    branches: int | None

    def __str__(self) -> str:
        return f"{self.AP:.3f} ({self.seeds})"


def best_accuracy(rows: list[Row], model: str, data: str) -> Accuracy | None:
    """The highest mean AP over the ways it was trained with most seeds, at the size and epochs of the data's recipe."""
    recipe = yaml.safe_load((RECIPES / f"{data}.yaml").read_text(encoding="utf-8"))
    wanted = {"model": model, "data": data, "imgsz": recipe["imgsz"], "epochs": recipe["epochs"]}
    found: dict[tuple[Any, ...], list[float]] = defaultdict(list)
    for row in rows:
        if all(row.get(key) == value for key, value in wanted.items()):
            found[tuple(row.get(key) for key in WAYS)].append(row["AP"])
    means = [Accuracy(statistics.mean(values), len(values), branches) for (branches, *_), values in found.items()]
    return max(means, key=lambda one: (one.seeds, one.AP), default=None)


def training_cost(rows: list[Row], model: str, branches: int | None) -> tuple[float | None, float | None]:
    """Seconds a picture and memory of training, as multiples of the reference's; None where not measured.

    Args:
        branches: of the row wanted; where no AP says which, the row with the most of them.
    """
    reference = next((row for row in rows if row["model"] == f"ultralytics {REFERENCE}"), None)
    measured = {row.get("branches"): row for row in rows if row["model"] == model}
    if branches is None and measured:
        branches = max(measured, key=lambda count: count or 0)
    row = measured.get(branches)
    if reference is None or row is None:
        return None, None
    return reference["images_per_second"] / row["images_per_second"], row["peak_mb"] / reference["peak_mb"]


def join(results: Path) -> tuple[list[Row], list[Point]]:
    """Rows of the table, in its order, and points of the picture: those with both a latency and an AP on BCCD.

    Raises:
        SystemExit: there is no latency, or none of the reference.
    """
    latency = {row["model"]: row for row in read_rows(results / "family.json")}
    if REFERENCE not in latency:
        raise SystemExit(f"{results / 'family.json'} has no row of {REFERENCE}: run benchmarks/family.py first")
    accuracy = {True: read_rows(results / "accuracy.json"), False: read_rows(results / "peer_accuracy.json")}
    speed = read_rows(results / "training_speed.json")
    known = {one.latency for one in DETECTORS}
    rows: list[Row] = []
    points: list[Point] = []
    for one in [*DETECTORS, *(ours(name) for name in latency if name not in known)]:
        if one.latency not in latency:
            continue
        cost = latency[one.latency]
        scores = {data: best_accuracy(accuracy[one.ours], one.accuracy, data) for data in DATA}
        branches = next((score.branches for score in scores.values() if score), None)
        seconds, memory = training_cost(speed, one.speed, branches)
        rows.append({
            "model": one.title,
            "params, M": cost["params, M"],
            "FLOPs, G": cost["FLOPs, G"],
            "ONNX Runtime": cost["onnxruntime"],
            "OpenVINO": cost["openvino"],
            **{f"AP {title} (seeds)": scores[data] for data, title in DATA.items()},
            "training time a picture": seconds,
            "training memory": memory,
        })  # fmt: skip
        bccd = scores["bccd"]
        if bccd:
            ratio = statistics.mean((cost["onnxruntime"], cost["openvino"]))
            points.append(Point(one.title, ratio, bccd.AP, one.ours))
    return rows, points


def pareto_front(points: list[Point]) -> list[Point]:
    """The points that no faster one equals or beats in AP, fastest first."""
    front: list[Point] = []
    for point in sorted(points, key=lambda one: (one.latency, -one.AP)):
        if not front or point.AP > front[-1].AP:
            front.append(point)
    return front


def draw(points: list[Point], path: Path) -> None:
    """Write the picture.

    Raises:
        SystemExit: there is no point.
    """
    if not points:
        raise SystemExit(f"{path.name} has nothing to show: no detector has both a latency and an AP on BCCD")
    with figure_file(path, 7.2, 4.2, dpi=140) as figure:
        axes = figure.subplots()
        front = pareto_front([point for point in points if point.ours])
        line = [(point.latency, point.AP) for point in front]
        if len(line) > 1:
            axes.plot(*zip(*line, strict=True), color=OURS, alpha=0.45, zorder=1)
        for whose, colour, marker, label in ((True, OURS, "o", "ghostyolo"), (False, PEERS, "s", "released packages")):
            group = [point for point in points if point.ours is whose]
            if group:
                axes.scatter(
                    [point.latency for point in group], [point.AP for point in group],
                    s=42, color=colour, marker=marker, label=label, zorder=2,
                )  # fmt: skip
        _scale(axes, points)
        axes.set_xlabel("latency as a multiple of YOLO26-n's, mean of ONNX Runtime and OpenVINO")
        axes.set_ylabel("AP on BCCD, from scratch")
        axes.grid(True)
        axes.legend(loc="upper left", bbox_to_anchor=(0, 1.13), ncols=2, borderaxespad=0)
        figure.draw_without_rendering()  # the layout is settled before places are looked for
        names = [(point.name, point.latency, point.AP) for point in sorted(points, key=lambda one: one.latency)]
        write_names(axes, names, [(point.latency, point.AP) for point in points], [line])


def _scale(axes: Any, points: list[Point]) -> None:
    """A logarithmic x axis in plain numbers, with room for the names on all sides."""
    from matplotlib.ticker import NullFormatter

    latencies, scores = [point.latency for point in points], [point.AP for point in points]
    axes.set_xscale("log")
    axes.set_xlim(min(latencies) / 1.5, max(latencies) * 1.7)
    ticks = [tick for tick in (0.1, 0.2, 0.3, 0.5, 0.7, 1, 1.5, 2, 3, 5, 10) if axes.get_xlim()[0] <= tick]
    ticks = [tick for tick in ticks if tick <= axes.get_xlim()[1]]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.minorticks_off()
    room = max(0.25 * (max(scores) - min(scores)), 0.01)
    axes.set_ylim(min(scores) - room, max(scores) + room)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the other scripts' results")
    parser.add_argument("--print", action="store_true", help="only print the table, write nothing")
    args = parser.parse_args()
    rows, points = join(args.results)
    table = markdown(rows, {name: form for name, (form, _) in COLUMNS.items()})
    print(table)
    if args.print:
        return
    chinese = [{COLUMNS[name][1]: value for name, value in row.items()} for row in rows]
    write_between(REPOSITORY / "README.md", "detectors", table)
    write_between(
        REPOSITORY / "README.zh-CN.md", "detectors", markdown(chinese, {word: form for form, word in COLUMNS.values()})
    )
    draw(points, PICTURE)


if __name__ == "__main__":
    main()
