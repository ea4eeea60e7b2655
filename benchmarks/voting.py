"""What voting and a mirrored pass bring: AP of built-in detectors with --vote, --tta and both.

    python benchmarks/voting.py

bccd and neu-det on their val splits. Time is not measured here: the mirrored pass doubles the network's, and voting is
part of the suppression.
"""

from __future__ import annotations

import argparse

import ghostyolo
from ghostyolo.data.formats import load_dataset
from ghostyolo.evaluate import evaluate
from ghostyolo.thresholds import MetricSelection
from report import RESULTS, Row, data_root, markdown, write_results

COLUMNS = {"weights": "", "vote": "", "tta": "", "AP": ".4f", "AP50": ".4f", "AP75": ".4f"}


def main() -> None:
    """Measure each detector in each way."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", nargs="+", default=["bccd", "neu-det"])
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    rows: list[Row] = []
    for name in args.weights:
        predictor = ghostyolo.load(name, threads=args.threads)
        data = load_dataset(data_root() / name, splits=["val"])
        for tta in (False, True):
            for vote in (False, True):
                selection = MetricSelection(vote=vote, tta=tta)
                result = evaluate(predictor, data.splits["val"], data.class_names, selection=selection)
                metrics = result.metrics.to_json()
                figures = {key: metrics[key] for key in ("AP", "AP50", "AP75")}
                rows.append({"weights": name, "vote": vote, "tta": tta, **figures})
    write_results(RESULTS / "voting.json", rows, "onnxruntime", "numpy", threads=args.threads)
    print(markdown(rows, COLUMNS))


if __name__ == "__main__":
    main()
