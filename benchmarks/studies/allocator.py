"""Page faults and time of a training step on the CPU, with glibc as it comes and told to keep freed memory.

    python benchmarks/studies/allocator.py

Each setting runs in a process of its own, alternating; prints medians and writes results/allocator.json.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
from pathlib import Path

STEPS, BATCH, IMGSZ = 3, 16, 320


def measure(keep: bool) -> dict[str, float]:
    """CPU milliseconds an image (user, system) and page faults a step, after a warm-up, in this process."""
    import torch

    from ghostyolo.models import build_model
    from ghostyolo.train.process import keep_freed_memory

    torch.set_num_threads(1)
    if keep:
        keep_freed_memory()
    model = build_model("yolov13n-ghostnetv3", num_classes=3, branches=1).train().to(memory_format=torch.channels_last)
    images = torch.rand(BATCH, 3, IMGSZ, IMGSZ).contiguous(memory_format=torch.channels_last)

    def step() -> None:
        output = model(images)
        (output.box_logits.square().mean() + output.cls_logits.square().mean()).backward()

    step()
    step()
    before = resource.getrusage(resource.RUSAGE_SELF)
    for _ in range(STEPS):
        step()
    after = resource.getrusage(resource.RUSAGE_SELF)
    images_done = STEPS * BATCH
    return {
        "user_ms": (after.ru_utime - before.ru_utime) / images_done * 1e3,
        "system_ms": (after.ru_stime - before.ru_stime) / images_done * 1e3,
        "faults_a_step": (after.ru_minflt - before.ru_minflt) / STEPS,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--results", type=Path, default=Path(__file__).parent.parent / "results" / "allocator.json")
    parser.add_argument("--one", choices=["as-is", "kept"], help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(measure(args.one == "kept")))
        return
    rows: dict[str, list[dict[str, float]]] = {"as-is": [], "kept": []}
    for _ in range(args.rounds):
        for name, found in rows.items():
            done = subprocess.run([sys.executable, __file__, "--one", name], check=True, capture_output=True, text=True)
            found.append(json.loads(done.stdout.splitlines()[-1]))
    medians = {
        name: {key: statistics.median(row[key] for row in found) for key in found[0]} for name, found in rows.items()
    }
    args.results.parent.mkdir(parents=True, exist_ok=True)
    args.results.write_text(json.dumps(medians, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(medians, indent=2))


if __name__ == "__main__":
    main()
