"""What a training step with branches costs: one by one, and at once, beside a plain convolution + batch norm.

    python benchmarks/studies/branch_container.py

Single layers of GhostNetV3, its backbone, and a detector with it, 320 px, on the CPU, forward and backward. Each round
runs every contestant once, so that a busy minute of the machine hits all; milliseconds are CPU time of the process,
ratios the medians of the rounds' own. Memory of a layer is what autograd keeps for the backward pass; of a network, the
peak of a process of its own less what it held before the first step. Pictures have neighbours alike and bars above and
below, as letterboxed photographs have: on noise the container takes its fastest ways more often.
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

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # where report.py and latency.py are
from report import RESULTS, Row, markdown, write_results

IMGSZ = 320
NETWORKS = ("ghostnetv3-0.5", "ghostnetv3-1.0", "yolov13n-ghostnetv3")
# Name, branches (None: plain), whether they are summed one by one.
CONTESTANTS: dict[str, tuple[int | None, bool]] = {
    "plain": (None, True),
    "n1_one_by_one": (1, True),
    "n1_at_once": (1, False),
    "n3_one_by_one": (3, True),
    "n3_at_once": (3, False),
}
OF_LAYERS = ("plain", "n3_one_by_one", "n3_at_once")
# input channels, output channels, side of the map, kernel, stride; depthwise where channels are equal and the kernel is
# not 1. Three channels are those of pictures, which have no gradient.
LAYERS = [
    (3, 16, 320, 3, 2),
    (8, 12, 160, 1, 1),
    (24, 36, 80, 1, 1),
    (40, 60, 40, 1, 1),
    (112, 336, 20, 1, 1),
    (160, 480, 10, 1, 1),
    (72, 12, 80, 1, 1),
    (120, 20, 40, 1, 1),
    (672, 56, 20, 1, 1),
    (960, 80, 10, 1, 1),
    (12, 12, 160, 3, 1),
    (36, 36, 80, 3, 1),
    (60, 60, 40, 3, 1),
    (168, 168, 20, 3, 1),
    (336, 336, 20, 3, 1),
    (40, 40, 10, 3, 1),
    (240, 240, 10, 3, 1),
    (60, 60, 40, 5, 1),
    (48, 48, 160, 3, 2),
    (72, 72, 80, 5, 2),
    (240, 240, 40, 3, 2),
    (672, 672, 20, 5, 2),
]


def in_its_way(name: str) -> contextlib.AbstractContextManager[None]:
    from ghostyolo.nn.reparam.fast_sum import one_by_one

    return one_by_one() if CONTESTANTS[name][1] else contextlib.nullcontext()


def build_layer(name: str, given: int, made: int, kernel: int, stride: int) -> Any:
    from ghostyolo.nn.reparam import ConvNorm, RepConv

    branches, groups = CONTESTANTS[name][0], given if given == made and kernel > 1 else 1
    if branches is None:
        return ConvNorm(given, made, kernel, stride, groups).train()
    return RepConv(given, made, kernel, stride, groups, branches=branches, identity=groups > 1).train()


def build_network(name: str, network: str, layout: str) -> Any:
    import torch

    from ghostyolo.models import build_model
    from ghostyolo.models.backbones.ghostnet import GhostNet

    torch.manual_seed(0)
    branches = CONTESTANTS[name][0]
    if network.startswith("ghostnetv3-"):
        built: Any = GhostNet(float(network.removeprefix("ghostnetv3-")), "dfc", branches)
    elif branches is None:  # GhostNetV2 is V3's graph without branches
        built = build_model(network.replace("v3", "v2"), num_classes=3)
    else:
        built = build_model(network, num_classes=3, branches=branches)
    return built.train().to(memory_format=getattr(torch, layout))


def pictures(batch: int, layout: str) -> Any:
    """Random pictures whose details are the fainter the finer, as in photographs, with grey bars above and below."""
    import torch

    generator = torch.Generator().manual_seed(0)
    images = torch.full((batch, 3, IMGSZ, IMGSZ), 0.5)
    for cells in (5, 10, 20, 40, 80, 160, 320):
        detail = torch.rand(batch, 3, cells, cells, generator=generator) - 0.5
        images += torch.nn.functional.interpolate(detail, (IMGSZ, IMGSZ), mode="bilinear") * 2.5 / cells**0.5
    images = images.clamp(0, 1)
    images[:, :, : IMGSZ // 8] = images[:, :, -IMGSZ // 8 :] = 114 / 255
    return images.contiguous(memory_format=getattr(torch, layout))


def layer_step(layer: Any, x: Any) -> Callable[[], Any]:
    import torch

    grad = torch.randn_like(layer(x))
    wanted = [value for value in (x, *layer.parameters()) if value.requires_grad]
    return lambda: torch.autograd.grad(layer(x), wanted, grad)


def network_step(network: Any, images: Any) -> Callable[[], Any]:
    def step() -> None:
        output = network(images)
        maps = output if isinstance(output, list) else [output.box_logits, output.cls_logits]
        sum(level.square().mean() for level in maps).backward()

    return step


def kept_mb(call: Callable[[], Any]) -> float:
    """Megabytes of the different tensors that autograd keeps during a call."""
    import torch

    kept: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        output = call()
    del output
    return sum(kept.values()) / 1e6


def cpu_ms(steps: dict[str, Callable[[], Any]], rounds: int) -> dict[str, list[float]]:
    """CPU milliseconds of each contestant's step in each round; a first round is not counted."""
    found: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(rounds + 1):
        for name, step in steps.items():
            with in_its_way(name):
                start = time.process_time()
                step()
                found[name].append((time.process_time() - start) * 1e3)
    return {name: values[1:] for name, values in found.items()}


def as_row(conditions: Row, ms: dict[str, list[float]], megabytes: dict[str, float]) -> Row:
    row = dict(conditions)
    for name, values in ms.items():
        row[f"{name}_ms"] = round(statistics.median(values), 2)
        row[f"{name}_mb"] = round(megabytes[name], 1)
        if name != "plain":
            ratios = [one / plain for one, plain in zip(values, ms["plain"], strict=True)]
            row[f"{name}_time_ratio"] = round(statistics.median(ratios), 2)
            row[f"{name}_memory_ratio"] = round(megabytes[name] / megabytes["plain"], 2)
    return row


def measure_layers(batch: int, layout: str, rounds: int) -> Iterator[Row]:
    import torch

    for given, made, side, kernel, stride in LAYERS:
        if given == 3:
            x = pictures(batch, layout)
        else:
            x = torch.randn(batch, given, side, side).relu()
            x = x.contiguous(memory_format=getattr(torch, layout)).requires_grad_()
        built = {name: build_layer(name, given, made, kernel, stride) for name in OF_LAYERS}
        megabytes = {}
        for name, layer in built.items():
            with in_its_way(name):
                megabytes[name] = kept_mb(lambda layer=layer, x=x: layer(x))
        ms = cpu_ms({name: layer_step(layer, x) for name, layer in built.items()}, rounds)
        depthwise = given == made and kernel > 1
        what = f"{kernel}x{kernel}" + (" depthwise" if depthwise else "") + (", stride 2" if stride == 2 else "")
        conditions = {"what": what, "channels": f"{given} to {made}", "side": side, "batch": batch, "layout": layout}
        yield as_row(conditions, ms, megabytes)


def measure_network(network: str, batch: int, layout: str, rounds: int) -> Row:
    images = pictures(batch, layout)
    built = {name: build_network(name, network, layout) for name in CONTESTANTS}
    ms = cpu_ms({name: network_step(one, images) for name, one in built.items()}, rounds)
    megabytes = peaks(network, batch, layout)
    return as_row({"what": network, "side": IMGSZ, "batch": batch, "layout": layout}, ms, megabytes)


def peaks(network: str, batch: int, layout: str) -> dict[str, float]:
    """:func:`peak_mb` of each contestant, in processes of their own."""
    found = {}
    for name in CONTESTANTS:
        command = [sys.executable, __file__, "--peak", name, network, str(batch), layout]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        found[name] = float(json.loads(done.stdout.splitlines()[-1]))
    return found


def peak_mb(name: str, network: str, batch: int, layout: str) -> float:
    """Peak resident megabytes of two steps, less what the process held before them."""
    import torch

    from ghostyolo.train.process import keep_freed_memory

    torch.set_num_threads(1)
    keep_freed_memory()
    step = network_step(build_network(name, network, layout), pictures(batch, layout))
    before = resident_mb()
    with in_its_way(name):
        step()
        step()
    return highest_mb() - before


def resident_mb() -> float:
    import psutil

    return float(psutil.Process().memory_info().rss) / 1e6


def highest_mb() -> float:
    """Peak resident megabytes of this process. Linux counts the parent's in what ``getrusage`` says of a child."""
    status = Path("/proc/self/status")
    if status.is_file():
        return next(int(line.split()[1]) for line in status.read_text().splitlines() if "VmHWM" in line) * 1024 / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6  # macOS counts bytes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batches", type=int, nargs="+", default=[4, 16])
    parser.add_argument("--networks", nargs="*", choices=NETWORKS, default=["ghostnetv3-0.5", "yolov13n-ghostnetv3"])
    parser.add_argument("--layouts", nargs="+", default=["contiguous_format", "channels_last"])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--results", type=Path, default=RESULTS / "branch_container.json")
    parser.add_argument("--peak", nargs=4, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.peak:
        name, network, batch, layout = args.peak
        print(json.dumps(peak_mb(name, network, int(batch), layout)))
        return

    import torch

    from ghostyolo.train.process import keep_freed_memory

    torch.set_num_threads(args.threads)
    keep_freed_memory()  # as training does
    rows: list[Row] = []
    for layout in args.layouts:
        rows += measure_layers(8, layout, args.rounds)
        for network in args.networks:
            for batch in args.batches:
                rows.append(measure_network(network, batch, layout, args.rounds))
                print(f"{layout}, {network}, batch {batch}: done", flush=True)
    write_results(args.results, rows, "torch", imgsz=IMGSZ, threads=args.threads, rounds=args.rounds)
    ratios = [f"{name}_{kind}_ratio" for kind in ("time", "memory") for name in CONTESTANTS if name != "plain"]
    columns = ["what", "channels", "side", "batch", "layout", "plain_ms", "plain_mb", *ratios]
    print(markdown([dict.fromkeys(columns) | row for row in rows], dict.fromkeys(columns, "")))


if __name__ == "__main__":
    main()
