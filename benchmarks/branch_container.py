"""What a training step with branches costs: three of them one by one, and at once, beside a plain convolution + BN.

    python benchmarks/branch_container.py

Single layers of GhostNetV3 and its whole backbone, 320 px, on the CPU. Each round runs every contestant once, so that a
busy minute of the machine hits all; seconds are CPU time of the process, medians over rounds. Memory is what autograd
keeps for the backward pass of a layer, and for the backbone the peak of a process of its own less what it
held before the first step.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from report import RESULTS, Row, markdown, write_results

IMGSZ = 320
CONTESTANTS = ("plain", "one by one", "at once")
# input channels, output channels, side of the map, kernel, stride; depthwise where the kernel is not 1.
LAYERS = {
    "0.5": [(8, 12, 160, 1, 1), (24, 8, 80, 1, 1), (12, 12, 160, 3, 1), (24, 24, 160, 3, 2), (80, 240, 10, 1, 1)],
    "1.0": [
        (16, 24, 160, 1, 1),
        (24, 36, 80, 1, 1),
        (40, 60, 40, 1, 1),
        (112, 336, 20, 1, 1),
        (160, 480, 10, 1, 1),
        (72, 12, 80, 1, 1),
        (120, 20, 40, 1, 1),
        (672, 56, 20, 1, 1),
        (960, 80, 10, 1, 1),
        (24, 24, 160, 3, 1),
        (36, 36, 80, 3, 1),
        (60, 60, 40, 3, 1),
        (336, 336, 20, 3, 1),
        (480, 480, 10, 3, 1),
        (48, 48, 160, 3, 2),
        (72, 72, 80, 5, 2),
        (240, 240, 40, 3, 2),
        (672, 672, 20, 5, 2),
    ],
}


@contextlib.contextmanager
def contestant(name: str) -> Iterator[None]:
    """Sum the branches of every container inside in the named way."""
    from ghostyolo.nn.reparam import container

    usual = container.sum_at_once
    if name == "one by one":
        container.sum_at_once = lambda container, x: None
    try:
        yield
    finally:
        container.sum_at_once = usual


def build_layer(name: str, given: int, made: int, kernel: int, stride: int) -> Any:
    from ghostyolo.nn.reparam import ConvNorm, RepConv

    groups = given if kernel > 1 else 1
    if name == "plain":
        return ConvNorm(given, made, kernel, stride, groups).train()
    return RepConv(given, made, kernel, stride, groups, branches=3, identity=groups > 1).train()


def build_backbone(name: str, width: float) -> Any:
    from ghostyolo.models.backbones.ghostnet import GhostNet

    return GhostNet(width, "dfc", None if name == "plain" else 3).train()


def layer_step(layer: Any, x: Any) -> Callable[[], Any]:
    import torch

    grad = torch.randn_like(layer(x))
    wanted = (x, *layer.parameters())
    return lambda: torch.autograd.grad(layer(x), wanted, grad)


def backbone_step(backbone: Any, images: Any) -> Callable[[], Any]:
    return lambda: sum(level.square().mean() for level in backbone(images)).backward()


def kept_bytes(call: Callable[[], Any]) -> int:
    """Bytes of the different tensors that autograd keeps during a call."""
    import torch

    kept: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        output = call()
    del output
    return sum(kept.values())


def cpu_ms(steps: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """Median CPU milliseconds of each contestant's step; the first round is not counted."""
    found: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(rounds + 1):
        for name, step in steps.items():
            with contestant(name):
                start = time.process_time()
                step()
                found[name].append((time.process_time() - start) * 1e3)
    return {name: statistics.median(values[1:]) for name, values in found.items()}


def as_row(conditions: Row, ms: dict[str, float], megabytes: dict[str, float]) -> Row:
    row = dict(conditions)
    for name in CONTESTANTS:
        key = name.replace(" ", "_")
        row[f"{key}_ms"] = round(ms[name], 2)
        row[f"{key}_mb"] = round(megabytes[name], 1)
        if name != "plain":
            row[f"{key}_time_ratio"] = round(ms[name] / ms["plain"], 2)
            row[f"{key}_memory_ratio"] = round(megabytes[name] / megabytes["plain"], 2)
    return row


def measure_layers(batch: int, layout: str, rounds: int) -> Iterator[Row]:
    import torch

    for width, layers in LAYERS.items():
        for given, made, side, kernel, stride in layers:
            x = torch.randn(batch, given, side, side).relu()
            x = x.to(memory_format=getattr(torch, layout)).requires_grad_()
            built = {name: build_layer(name, given, made, kernel, stride) for name in CONTESTANTS}
            megabytes = {}
            for name, layer in built.items():
                with contestant(name):
                    megabytes[name] = kept_bytes(lambda layer=layer, x=x: layer(x)) / 1e6
            ms = cpu_ms({name: layer_step(layer, x) for name, layer in built.items()}, rounds)
            what = f"{kernel}x{kernel} " + ("depthwise" if kernel > 1 else "dense") + f", stride {stride}"
            conditions = {"what": what, "width": width, "channels": f"{given} to {made}", "side": side}
            yield as_row({**conditions, "batch": batch, "layout": layout}, ms, megabytes)


def measure_backbone(width: float, batch: int, layout: str, rounds: int) -> Row:
    import torch

    images = torch.rand(batch, 3, IMGSZ, IMGSZ).to(memory_format=getattr(torch, layout))
    built = {name: build_backbone(name, width).to(memory_format=getattr(torch, layout)) for name in CONTESTANTS}
    ms = cpu_ms({name: backbone_step(backbone, images) for name, backbone in built.items()}, rounds)
    megabytes = {}
    for name in CONTESTANTS:
        command = [sys.executable, __file__, "--peak", name, str(width), str(batch), layout]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        megabytes[name] = float(json.loads(done.stdout.splitlines()[-1]))
    conditions = {"what": "backbone", "width": str(width), "side": IMGSZ, "batch": batch, "layout": layout}
    return as_row(conditions, ms, megabytes)


def peak_mb(name: str, width: float, batch: int, layout: str) -> float:
    """Peak resident megabytes of two steps, less what the process held before them."""
    import torch

    torch.set_num_threads(1)
    images = torch.rand(batch, 3, IMGSZ, IMGSZ).to(memory_format=getattr(torch, layout))
    backbone = build_backbone(name, width).to(memory_format=getattr(torch, layout))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with contestant(name):
        for _ in range(2):
            backbone_step(backbone, images)()
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return (after - before) * (1024 if sys.platform == "linux" else 1) / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batches", type=int, nargs="+", default=[4, 16])
    parser.add_argument("--layouts", nargs="+", default=["contiguous_format", "channels_last"])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--results", type=Path, default=RESULTS / "branch_container.json")
    parser.add_argument("--peak", nargs=4, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.peak:
        name, width, batch, layout = args.peak
        print(json.dumps(peak_mb(name, float(width), int(batch), layout)))
        return

    import torch

    from ghostyolo.train.memory import keep_freed_memory

    torch.set_num_threads(args.threads)
    keep_freed_memory()  # as training does
    rows: list[Row] = []
    for layout in args.layouts:
        for batch in args.batches:
            rows += measure_layers(batch, layout, args.rounds)
            rows += (measure_backbone(width, batch, layout, args.rounds) for width in (0.5, 1.0))
            print(f"{layout}, batch {batch}: done", flush=True)
    write_results(args.results, rows, "torch", imgsz=IMGSZ, threads=args.threads, rounds=args.rounds)
    columns = dict.fromkeys(("what", "width", "channels", "side", "batch", "layout"), "") | {"plain_ms": ".1f"}
    ratios = [f"{name}_{kind}_ratio" for kind in ("time", "memory") for name in ("one_by_one", "at_once")]
    print(markdown(rows, columns | dict.fromkeys(ratios, ".2f")))


if __name__ == "__main__":
    main()
