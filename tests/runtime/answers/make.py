"""Write what each shipped network finds in its picture: ``PYTHONPATH=. python -m tests.runtime.answers.make``.

Run it when weights are replaced, not when an engine or a test disagrees: the answers are of ONNX Runtime on the
shipped ``.onnx`` files, and every other engine is held to them.
"""

from __future__ import annotations

import json
from pathlib import Path

import ghostyolo
from tests.runtime.answers.pictures import PICTURES

HERE = Path(__file__).parent
ASSETS = Path(ghostyolo.__file__).parent / "assets"
CONFIDENCE = 0.4
GAP = 0.05  # no score is nearer to the threshold, so that every engine finds as many


def main() -> None:
    for name, draw in PICTURES.items():
        predictor = ghostyolo.load(ASSETS / f"{name}.onnx")
        detections = predictor.detect([draw()], confidence=CONFIDENCE - GAP)[0]
        rows = [
            {"class": label, "score": round(float(score), 4), "box": [round(float(side), 2) for side in box]}
            for box, score, label in zip(
                detections.xyxy, detections.confidence, detections.data["class_name"].tolist(), strict=True
            )
        ]
        assert rows
        assert min(row["score"] for row in rows) > CONFIDENCE + GAP, name
        lines = ",\n".join(json.dumps(row) for row in rows)
        (HERE / f"{name}.json").write_text(f"[\n{lines}\n]\n", encoding="utf-8")


if __name__ == "__main__":
    main()
