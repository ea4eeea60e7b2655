"""What voting and a mirrored pass bring, and what they cost: AP and time with --vote, --tta and both.

    python benchmarks/voting.py

bccd and neu-det on their val splits, and YOLOX-Nano, trained by others, on coco128.
The time is CPU time a picture with one thread, letterbox and suppression within it: the median over pictures of the
least of five calls, the ways in turn, so that other work on the machine adds little. "predict" reports scores above
0.25, as `ghostyolo predict` does; "val" looks at every box above 0.001.
"""

from __future__ import annotations

import argparse
import statistics
import time
from typing import Any

import ghostyolo
from ghostyolo.data.formats import load_dataset
from ghostyolo.data.images import read_image
from ghostyolo.evaluate import evaluate
from ghostyolo.thresholds import MetricSelection, Selection
from report import (
    REPOSITORY,
    RESULTS,
    Row,
    data_root,
    markdown,
    read_rows,
    replace_row,
    write_between,
    write_results,
)

CELLS = (("bccd", "bccd", "val"), ("neu-det", "neu-det", "val"), ("yolox_nano.onnx", "coco128", "val"))
WAYS = {"neither": (False, False), "vote": (True, False), "tta": (False, True), "both": (True, True)}
KEYS = ("weights", "data", "way")
PICTURES, ROUNDS = 24, 5
COLUMNS = {
    **dict.fromkeys(("weights", "way"), ""),
    **dict.fromkeys(("AP", "AP50", "AP75"), ".4f"),
    **dict.fromkeys(("predict ms", "val ms"), ".2f"),
}


def cpu_milliseconds(predictor: Any, pictures: list[Any], multi_label: bool, kind: type[Selection]) -> dict[str, float]:
    """Way -> CPU time a picture, without reading it."""
    least: dict[str, list[float]] = {way: [] for way in WAYS}
    for picture in pictures:
        times: dict[str, list[float]] = {way: [] for way in WAYS}
        for _ in range(ROUNDS):
            for way, (vote, tta) in WAYS.items():
                start = time.process_time()
                predictor.detect([picture], multi_label=multi_label, **dict(kind(vote=vote, tta=tta)))
                times[way].append(1000 * (time.process_time() - start))
        for way in WAYS:
            least[way].append(min(times[way]))
    return {way: round(statistics.median(values), 3) for way, values in least.items()}


def page_table(rows: list[Row]) -> str:
    """The table of docs/predict.md: a row a detector, a column a way."""
    lines = ["| detector and pictures | " + " | ".join(f"`--{w}`" if w in ("vote", "tta") else w for w in WAYS) + " |"]
    lines.append("|" + " --- |" * (1 + len(WAYS)))
    for weights, data, split in CELLS:
        of_weights = {row["way"]: row for row in rows if row["weights"] == weights}
        if not of_weights:
            continue  # not measured yet
        name = weights.removesuffix(".onnx")
        scores = (f"{of_weights[way]['AP']:.3f}, {of_weights[way]['AP50']:.3f}" for way in WAYS)
        lines.append(f"| `{name}` on {data}, {split}: AP, AP50 | " + " | ".join(scores) + " |")
        times = (f"{of_weights[way]['predict ms']:.1f}, {of_weights[way]['val ms']:.1f}" for way in WAYS)
        lines.append("| ms in `predict`, in `val` | " + " | ".join(times) + " |")
    return "\n".join(lines)


def main() -> None:
    """Measure each detector in each way."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", nargs="+", default=[cell[0] for cell in CELLS], help="measure these anew")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    rows = read_rows(RESULTS / "voting.json")
    for weights, data, split in (cell for cell in CELLS if cell[0] in args.weights):
        file = data_root() / weights
        predictor = ghostyolo.load(file if file.is_file() else weights, threads=args.threads)
        labelled = load_dataset(data_root() / data, splits=[split])
        records = labelled.splits[split]
        pictures = [read_image(record.path, 3, record.pixel_range) for record in records[:PICTURES]]
        predict = cpu_milliseconds(predictor, pictures, False, Selection)
        val = cpu_milliseconds(predictor, pictures, True, MetricSelection)
        for way, (vote, tta) in WAYS.items():
            selection = MetricSelection(vote=vote, tta=tta)
            metrics = evaluate(predictor, records, labelled.class_names, selection=selection).metrics.to_json()
            figures = {key: round(metrics[key], 5) for key in ("AP", "AP50", "AP75")}
            times = {"predict ms": predict[way], "val ms": val[way]}
            rows = replace_row(rows, {"weights": weights, "data": data, "way": way, **figures, **times}, KEYS)
        write_results(RESULTS / "voting.json", rows, "onnxruntime", "numpy", threads=args.threads)
    write_between(REPOSITORY / "docs" / "predict.md", "voting", page_table(rows))
    print(markdown(rows, COLUMNS))


if __name__ == "__main__":
    main()
