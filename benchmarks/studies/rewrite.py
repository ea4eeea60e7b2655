"""What exact rewriting of the folded graph brings: each form side by side, each pass left out in turn.

    python benchmarks/studies/rewrite.py [--model yolov13n-ghostnetv3] [--reference yolov13n] [--peer FILE.onnx]
    python benchmarks/studies/rewrite.py --front [mine.yaml ghostyolo-n]

Untrained networks (times do not depend on weights) at 640 px, batch 1, one thread, fp32, in ONNX Runtime and OpenVINO.
All forms take turns, round after round, in one process; ratios are medians over the rounds of one form's time to
the reference's in the same round. ``--peer`` adds a file that somebody else exported. Writes ``results/rewrite.json``
and the table of passes in docs/design/rewrite.md. ``--front`` leaves no pass out and adds other detectors in their
rewritten form, by default those in ``front`` and ghostyolo-n: ``results/rewrite_front.json`` and the other table.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import onnx
import onnxslim
import torch

from ghostyolo.export.deployed import DeployedModel, fold_for_device
from ghostyolo.export.formats import find_format
from ghostyolo.export.rewrite.hypergraph import with_deployed_hypergraphs
from ghostyolo.export.rewrite.program import capture
from ghostyolo.export.rewrite.rewriter import PASSES, run_passes
from ghostyolo.models.detector import build_model

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # where report.py and latency.py are
from latency import median_ratio, noise, open_file, take_turns, write_onnx
from report import REPOSITORY, RESULTS, Row, markdown, write_between, write_results

PAGE = REPOSITORY / "docs" / "design" / "rewrite.md"
OTHERS = [*sorted(str(path) for path in (REPOSITORY / "benchmarks" / "front").glob("*.yaml")), "ghostyolo-n"]
LEFT_OUT = ("hypergraph", *(name for name in PASSES if name != "plain"))
ENGINES = {"onnx": "onnxruntime", "openvino": "openvino"}  # format -> what runs its graph here


def folded(name: str) -> DeployedModel:
    torch.manual_seed(0)
    return DeployedModel(fold_for_device(build_model(name, num_classes=80)), "decoded").eval()


def written(network: torch.nn.Module, path: Path, imgsz: int) -> Path:
    write_onnx(network, path, imgsz)
    onnx.save(onnxslim.slim(onnx.load(path)), path)
    return path


def rows_of(engine: str, times: dict[str, list[float]], reference: str, naive: str) -> list[Row]:
    return [
        {
            "engine": engine,
            "form": name,
            "to_reference": round(median_ratio(times, name, reference), 3),
            "to_naive": round(median_ratio(times, name, naive), 3),
            "median_ms": round(statistics.median(found), 1),
            "rounds": len(found),
        }
        for name, found in times.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="yolov13n-ghostnetv3")
    parser.add_argument("--reference", default="yolov13n")
    parser.add_argument("--front", nargs="*", metavar="MODEL", help="names or YAML files of detectors")
    parser.add_argument("--peer", type=Path)
    parser.add_argument("--imgsz", type=int, default=640)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--engines", nargs="+", choices=list(ENGINES), default=list(ENGINES))
    parser.add_argument("--no-ablation", action="store_true", help="leave no pass out")
    parser.add_argument("--results", type=Path, help="default: rewrite.json or rewrite_front.json in results")
    options = parser.parse_args()
    front = options.front is not None
    options.no_ablation |= front
    options.results = options.results or RESULTS / ("rewrite_front.json" if front else "rewrite.json")
    images = noise(options.imgsz)
    example = torch.from_numpy(images)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        plain = {one: folded(one) for one in (options.reference, options.model)}
        paths = {one: written(network, folder / f"{one}.onnx", options.imgsz) for one, network in plain.items()}
        # Captured once each, since that takes longest: with the hypergraph simplified, and as it is.
        captured = {(what, True): capture(with_deployed_hypergraphs(one)[0], example) for what, one in plain.items()}
        others = {f"{Path(one).stem} rewritten": folded(one) for one in (options.front or OTHERS if front else ())}
        captured_others = {
            form: capture(with_deployed_hypergraphs(network)[0], example) for form, network in others.items()
        }
        if not options.no_ablation:
            captured[options.model, False] = capture(plain[options.model], example)
        for engine in options.engines:
            block = find_format(engine).channel_block
            forms = dict(paths)
            for what in plain:
                left = [()] if options.no_ablation or what == options.reference else [(), *((one,) for one in LEFT_OUT)]
                for out in left:
                    form = f"{what} rewritten" + "".join(f", without {one}" for one in out)
                    module = run_passes(captured[what, "hypergraph" not in out], block, out).module
                    forms[form] = written(module, folder / f"{engine} {form}.onnx", options.imgsz)
                    print(engine, form, "written", flush=True)
            for form, program in captured_others.items():
                module = run_passes(program, block).module
                forms[form] = written(module, folder / f"{engine} {form}.onnx", options.imgsz)
            if options.peer:
                forms[options.peer.stem] = options.peer
            calls = {form: open_file(ENGINES[engine], path, images) for form, path in forms.items()}
            rows += rows_of(engine, take_turns(calls, options.rounds), options.reference, options.model)
            write_results(
                options.results, rows, "onnxruntime", "openvino", imgsz=options.imgsz, threads=1, precision="fp32"
            )
    if front:
        _table(rows, "others", [options.reference, f"{options.model} rewritten", *others], ("reference",))
    else:
        _table(rows, "passes", list(dict.fromkeys(row["form"] for row in rows)))


def _table(rows: list[Row], name: str, forms: Sequence[str], to: Sequence[str] = ("reference", "naive")) -> None:
    columns = {"form": "", **{f"{engine}, {of}": ".2f" for engine in ENGINES for of in to}}
    write_between(PAGE, name, markdown([{"form": form, **_ratios(rows, form)} for form in forms], columns))


def _ratios(rows: list[Row], form: str) -> dict[str, float]:
    found = [row for row in rows if row["form"] == form]
    return {f"{row['engine']}, {of}": row[f"to_{of}"] for row in found for of in ("reference", "naive")}


if __name__ == "__main__":
    main()
