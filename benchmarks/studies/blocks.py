"""What blocks cost at each size of map, as a share of one YOLO26-n inference, and the capacity that this buys.

    python benchmarks/studies/blocks.py

A block takes C channels to C at one size. Its cost is a chain of four less a chain of one, over three, so that what a
graph costs by itself falls out. Chains are folded, rewritten as an export is, and run as ONNX files in float32 on one
thread, batch 1, in the same rounds as YOLO26-n at 640 px; figures are medians over the rounds of the paired ratios.
FLOPs are 2 x MACs. Needs ``ghostyolo[ultralytics,openvino]``. Writes ``results/blocks.json`` and the tables of
docs/design/search.md.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from ghostyolo.benchmark.ultralytics_peer import export_peer
from ghostyolo.export.formats import find_format
from ghostyolo.export.rewrite.rewriter import rewrite
from ghostyolo.models.count import count_macs, count_parameters
from ghostyolo.nn.blocks import DSC3k2
from ghostyolo.nn.csp import C2f
from ghostyolo.nn.ghost import GhostBottleneck, GhostModule
from ghostyolo.nn.reparam import ConvNorm, fold
from ghostyolo.nn.slim import DenseBottleneck, relu

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # where report.py and latency.py are
from latency import Call, noise, open_file, take_turns, write_onnx
from report import REPOSITORY, RESULTS, Row, markdown, write_between, write_results

PAGE = REPOSITORY / "docs" / "design" / "search.md"
REFERENCE = "yolo26n"
ENGINES = ("onnxruntime", "openvino")
PLACES = {"1/4": (160, 32), "1/8": (80, 64), "1/16": (40, 128), "1/32": (20, 256)}  # at 640 px: side, channels
LONG, SHORT = 4, 1
BLOCKS: dict[str, Callable[[int], nn.Module]] = {
    "dense 3x3": lambda c: ConvNorm(c, c, 3, act=relu),
    "dense 3x3, SiLU": lambda c: ConvNorm(c, c, 3, act=nn.SiLU),
    "1x1": lambda c: ConvNorm(c, c, act=relu),
    "depthwise 3x3": lambda c: ConvNorm(c, c, 3, groups=c, act=relu),
    "depthwise 5x5": lambda c: ConvNorm(c, c, 5, groups=c, act=relu),
    "Ghost module": lambda c: GhostModule(c, c),
    "Ghost module, SiLU": lambda c: GhostModule(c, c, act=nn.SiLU),
    "Ghost module, DFC gate": lambda c: GhostModule(c, c, attention="dfc"),
    "Ghost module, PSA gate": lambda c: GhostModule(c, c, attention="psa"),
    "Ghost bottleneck, expansion 1": lambda c: GhostBottleneck(c, c, c),
    "Ghost bottleneck, expansion 2": lambda c: GhostBottleneck(c, 2 * c, c),
    "Ghost bottleneck, expansion 2, SE": lambda c: GhostBottleneck(c, 2 * c, c, squeeze_excite=True),
    "Ghost bottleneck, expansion 2, DFC gate": lambda c: GhostBottleneck(c, 2 * c, c, attention="dfc"),
    "dense bottleneck (the control's)": lambda c: DenseBottleneck(c, 1),
    "C2f (YOLOv8's)": lambda c: C2f(c, c, 1, shortcut=True),
    "DSC3k2 (YOLOv13's)": lambda c: DSC3k2(c, c, 1),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--results", type=Path, default=RESULTS / "blocks.json")
    arguments = parser.parse_args()
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        peer = export_peer(REFERENCE, 640, 1, folder)
        for place, (side, channels) in PLACES.items():
            files = {
                (block, length): _write(build, channels, side, length, folder / f"{side}-{number}-{length}.onnx")
                for number, (block, build) in enumerate(BLOCKS.items())
                for length in (SHORT, LONG)
            }
            times = {}
            for engine in ENGINES:
                chains = {f"{key}": open_file(engine, path, noise(side, channels)) for key, path in files.items()}
                calls: dict[str, Call] = {REFERENCE: open_file(engine, peer, noise(640)), **chains}
                times[engine] = take_turns(calls, arguments.rounds)
            rows += [_row(place, block, channels, side, times) for block in BLOCKS]
            print(markdown([row for row in rows if row["place"] == place], dict.fromkeys(rows[-1], "")), flush=True)
    write_results(
        arguments.results, rows, "onnxruntime", "openvino", "torch", "ultralytics-opencv-headless",
        threads=1, batch=1, imgsz=640, rounds=arguments.rounds, reference=REFERENCE,
    )  # fmt: skip
    write_between(PAGE, "costs", _table(rows, "{onnxruntime:.2f} / {openvino:.2f}"))
    write_between(PAGE, "capacity", _table(rows, "{mflops_a_percent:.0f} / {kparams_a_percent:.1f}"))


def _chain(build: Callable[[int], nn.Module], channels: int, length: int) -> nn.Module:
    return fold(nn.Sequential(*(build(channels) for _ in range(length))).eval())


def _write(build: Callable[[int], nn.Module], channels: int, side: int, length: int, path: Path) -> Path:
    block = find_format("onnx").channel_block
    with torch.no_grad():
        module = rewrite(_chain(build, channels, length), torch.zeros(1, channels, side, side), block=block).module
        return write_onnx(module, path, side, channels)


def _row(place: str, block: str, channels: int, side: int, times: dict[str, dict[str, list[float]]]) -> Row:
    """Cost of one block in percent of the reference's time, and its FLOPs and parameters for each percent."""
    one = _chain(BLOCKS[block], channels, 1)
    mflops = 2 * count_macs(one, side, channels) / 1e6
    kparams = count_parameters(one) / 1e3
    percents = {}
    for engine, found in times.items():
        rounds = zip(found[f"{(block, LONG)}"], found[f"{(block, SHORT)}"], found[REFERENCE], strict=True)
        percents[engine] = statistics.median(
            100 * (long - short) / (LONG - SHORT) / reference for long, short, reference in rounds
        )
    mean = statistics.mean(percents.values())
    return {
        "place": place,
        "block": block,
        "side": side,
        "channels": channels,
        "mflops": round(mflops, 2),
        "kparams": round(kparams, 2),
        **{engine: round(percent, 3) for engine, percent in percents.items()},
        "mflops_a_percent": round(mflops / mean, 1),
        "kparams_a_percent": round(kparams / mean, 2),
    }


def _table(rows: list[Row], form: str) -> str:
    table = []
    for block in BLOCKS:
        cells = {str(row["place"]): form.format(**row) for row in rows if row["block"] == block}
        table.append({"block": block, **cells})
    return markdown(table, dict.fromkeys(("block", *PLACES), ""))


if __name__ == "__main__":
    main()
