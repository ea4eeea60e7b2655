"""One training run of the released ``ultralytics`` package, for training_speed.py. Runs in that package's environment.

    PEER_PYTHON peer_ultralytics.py MODEL.yaml DATA.yaml IMGSZ BATCH THREADS EPOCHS SCRATCH RESULT.json

Through its public interface only. Writes the seconds of each epoch (batches only) and leaves after the last one, before
validation, so that the process's peak memory is training's.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path


def main() -> None:
    model, data, imgsz, batch, threads, epochs, scratch, result = sys.argv[1:]
    os.environ.update(YOLO_CONFIG_DIR=scratch, YOLO_AUTOINSTALL="false", YOLO_OFFLINE="true")

    import torch
    import ultralytics

    starts: list[float] = []
    seconds: list[float] = []

    def begin(trainer: object) -> None:
        # The package sets its own number of threads when it chooses the device.
        torch.set_num_threads(int(threads))

    def epoch_start(trainer: object) -> None:
        starts.append(time.perf_counter())

    def epoch_end(trainer: object) -> None:
        seconds.append(time.perf_counter() - starts[-1])
        if len(seconds) == int(epochs):
            versions = {"ultralytics": ultralytics.__version__, "torch": torch.__version__}
            Path(result).write_text(json.dumps({"seconds": seconds, "packages": versions}))
            sys.stdout.flush()
            os._exit(0)

    detector = ultralytics.YOLO(model)
    detector.add_callback("on_train_start", begin)
    detector.add_callback("on_train_epoch_start", epoch_start)
    detector.add_callback("on_train_epoch_end", epoch_end)
    detector.train(
        data=data, imgsz=int(imgsz), batch=int(batch), epochs=int(epochs), device="cpu", workers=0, cache="ram",
        close_mosaic=0, amp=False, pretrained=False, plots=False, save=False, val=False, verbose=False, seed=0,
        project=scratch, name="run", exist_ok=True,
    )  # fmt: skip


if __name__ == "__main__":
    main()
