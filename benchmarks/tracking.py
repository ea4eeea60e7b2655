"""How well tracks hold: MOTA, IDF1, HOTA and switches of each tracker on generated videos with known truth.

    python benchmarks/tracking.py

The videos are `ghostyolo data digits --video`, the detector is the built-in `digits`, the scores are computed by the
package `trackers`. "true boxes" stands for a detector without fault: what the tracker itself loses. Milliseconds are
those of the tracker alone.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import supervision
from trackers.eval import evaluate_mot_sequence

from ghostyolo.data.scenes.moving import FPS, generate_digit_video, moving_digits
from ghostyolo.runtime.predictor import load
from ghostyolo.runtime.tracking import TRACKERS, Tracker
from ghostyolo.runtime.writers import mot_text
from report import RESULTS, Row, markdown, write_results


def true_boxes(frames: int, seed: int) -> list[Any]:
    """(detections, picture) of each frame, as a perfect detector finds them."""
    return [
        (
            supervision.Detections(
                xyxy=frame.boxes_xyxy.astype(np.float32),
                confidence=np.full(len(frame.labels), 0.9, np.float32),
                class_id=frame.labels,
            ),
            frame.image,
        )
        for frame in moving_digits(frames, 320, seed)
    ]


def score(name: str, found: list[Any], truth: Path) -> list[float]:
    """MOTA, IDF1, HOTA, switches and milliseconds a frame of one video."""
    tracker, lines, seconds = Tracker(name, FPS), [], 0.0
    for number, (detections, image) in enumerate(found):
        start = time.perf_counter()
        tracked = tracker.update(detections, image, number / FPS)
        seconds += time.perf_counter() - start
        lines.append(mot_text(number, tracked))
    path = truth.with_name(f"{name}.txt")
    path.write_text("".join(lines))
    scores = evaluate_mot_sequence(truth, path, metrics=["CLEAR", "HOTA", "Identity"])
    return [
        *(scores.CLEAR.MOTA, scores.Identity.IDF1, scores.HOTA.HOTA, scores.CLEAR.IDSW),
        seconds / len(found) * 1000,
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--frames", type=int, default=300)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--results", type=Path, default=RESULTS / "tracking.json")
    args = parser.parse_args()

    predictor = load("digits", threads=args.threads)
    values: dict[tuple[str, str], list[list[float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for seed in args.seeds:
            video = generate_digit_video(Path(folder) / str(seed), frames=args.frames, seed=seed)
            found = {
                "digits": [(one.detections, one.frame.image) for one in predictor.predict(video)],
                "true boxes": true_boxes(args.frames, seed),
            }
            for detector, results in found.items():
                for name in TRACKERS:
                    values.setdefault((detector, name), []).append(score(name, results, video.with_name("gt.txt")))
    columns = ("MOTA", "IDF1", "HOTA", "switches", "ms")
    rows: list[Row] = [
        {"detector": detector, "tracker": name}
        | {column: round(float(value), 3) for column, value in zip(columns, np.mean(scores, 0), strict=True)}
        for (detector, name), scores in values.items()
    ]
    write_results(args.results, rows, "trackers", "supervision", "numpy")
    formats = {column: ".3f" for column in columns[:3]} | {"switches": ".1f", "ms": ".2f"}
    print(markdown(rows, {"detector": "", "tracker": "", **formats}))


if __name__ == "__main__":
    main()
