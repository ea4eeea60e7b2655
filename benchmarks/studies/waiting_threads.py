"""Time of a training step on a CPU that other programs use too, by number of threads and by how they wait.

    python benchmarks/studies/waiting_threads.py

OpenMP's threads meet at the end of each operation. As it comes, those that are there first spin: they hold their core
while they wait for one whose core another program has. With OMP_WAIT_POLICY=passive they sleep.

Each setting runs in a process of its own, in turn, alone and beside as many busy processes as ``--busy`` says; prints
medians and writes results/waiting_threads.json. ``load`` is the machine's load average at the start: what else ran.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

MODEL, BATCH, IMGSZ = "ghostyolo-n", 8, 160


def measure(threads: int, steps: int) -> list[float]:
    """Milliseconds of each step, after a warm-up, in this process."""
    import torch

    from ghostyolo.models import build_model
    from ghostyolo.train.process import keep_freed_memory

    torch.set_num_threads(threads)
    keep_freed_memory()
    model = build_model(MODEL, num_classes=3).train()
    images = torch.rand(BATCH, 3, IMGSZ, IMGSZ)
    times = []
    for _ in range(steps + 1):
        start = time.perf_counter()
        output = model(images)
        (output.box_logits.square().mean() + output.cls_logits.square().mean()).backward()
        times.append(1000 * (time.perf_counter() - start))
    return times[1:]


def main() -> None:
    cores = len(os.sched_getaffinity(0))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=10, help="of a round, after one that is not counted")
    parser.add_argument("--busy", type=int, nargs="+", default=[0, 1, cores], help="busy processes beside")
    results = Path(__file__).parent.parent / "results" / "waiting_threads.json"
    parser.add_argument("--results", type=Path, default=results)
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(measure(args.one, args.steps)))
        return
    settings: dict[str, tuple[int, dict[str, str]]] = {
        "1 thread": (1, {}),
        f"{cores} threads, as they come": (cores, {}),
        f"{cores} threads, passive": (cores, {"OMP_WAIT_POLICY": "passive"}),
        f"{cores} threads, spin briefly": (cores, {"GOMP_SPINCOUNT": "1000"}),
    }
    load = os.getloadavg()[0]
    times: dict[int, dict[str, list[float]]] = {busy: {name: [] for name in settings} for busy in args.busy}
    for _ in range(args.rounds):
        for busy, found in times.items():
            others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(busy)]
            try:
                for name, (threads, environment) in settings.items():
                    plain = {key: value for key, value in os.environ.items() if not key.startswith(("OMP_", "GOMP_"))}
                    command = [sys.executable, __file__, "--one", str(threads), "--steps", str(args.steps)]
                    done = subprocess.run(command, env=plain | environment, check=True, capture_output=True, text=True)
                    found[name] += json.loads(done.stdout.splitlines()[-1])
            finally:
                for other in others:
                    other.kill()
                    other.wait()
    rows = [
        {"busy": busy, "setting": name, "median_ms": round(statistics.median(found), 1), "steps": len(found)}
        for busy, settled in times.items()
        for name, found in settled.items()
    ]
    report = {"model": MODEL, "batch": BATCH, "imgsz": IMGSZ, "cores": cores, "load": round(load, 2), "rows": rows}
    args.results.parent.mkdir(parents=True, exist_ok=True)
    args.results.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    for row in rows:
        print(f"{row['busy']} busy beside: {row['median_ms']:8.0f} ms  {row['setting']}")


if __name__ == "__main__":
    main()
