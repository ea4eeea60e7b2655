"""``python -m tests.train.one_run DATA OUT [key=value ...]``: a tiny run in a process of its own.

``slow=SECONDS`` waits at each batch, ``resume=1`` resumes, ``log=FOLDER`` writes what each rank saw and its weights.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import torch
import yaml
from rich.console import Console

from ghostyolo.train.detection import fit, module
from tests.train import tiny
from tests.train.distil import networks  # noqa: F401 - registers what teachers are made of


def main() -> None:
    torch.set_num_threads(1)
    data, out, *pairs = sys.argv[1:]
    options = {key: yaml.safe_load(value) for key, value in (pair.split("=", 1) for pair in pairs)}
    slow, resume, log = (options.pop(key, None) for key in ("slow", "resume", "log"))
    seen: list[list[int]] = []
    modules: list[module.DetectionModule] = []
    original = module.DetectionModule.training_step

    def step(self, batch, batch_idx):
        time.sleep(slow or 0)
        seen.append(batch.indices)
        modules.append(self)
        return original(self, batch, batch_idx)

    module.DetectionModule.training_step = step
    model, metadata = tiny.model_and_metadata()
    recipe = tiny.recipe(**options)
    fit.fit(model, metadata, tiny.squares(Path(data)), recipe, out, resume=bool(resume), console=Console())
    if log:
        rank = modules[0].global_rank
        (Path(log) / f"seen{rank}.json").write_text(json.dumps(seen))
        learned = {**modules[0].model.state_dict(), **modules[0].adapters.state_dict(prefix="adapters.")}
        torch.save(learned, Path(log) / f"weights{rank}.pt")
        torch.save({**modules[0].ema.model.state_dict()}, Path(log) / f"average{rank}.pt")


if __name__ == "__main__":
    main()
