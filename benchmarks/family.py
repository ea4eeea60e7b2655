"""The ghostyolo family and its peers, whole networks side by side: latency in ONNX Runtime and OpenVINO, and cost.

    python benchmarks/family.py
    python benchmarks/family.py --models ghostyolo-n mine.yaml --peers yolo26n --rounds 40

Each network is untrained, of 80 classes, folded and exported for each engine at 640 px, batch 1 (peers as ONNX for
both), and runs in float32 on one thread. In every round each network has its turn, one engine after the other, and a
network's figure is the median over the rounds of its time to YOLO26-n's in the same round and engine. A YAML declares a
detector, so that a candidate can be measured before it has a name; here it is called by its file's stem. Peers are of
the released ``ultralytics`` package (``ghostyolo[ultralytics,openvino]``). Writes ``results/family.json`` and the table
of docs/design/family.md.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from pathlib import Path

from ghostyolo.benchmark.build import Builder
from ghostyolo.benchmark.ultralytics_peer import export_peer, peer_costs
from ghostyolo.models import build_model
from ghostyolo.models.count import count_macs, count_parameters
from ghostyolo.nn.reparam import fold
from latency import exported, median_ratio, noise, open_file, take_turns
from report import REPOSITORY, RESULTS, Row, markdown, read_rows, replace_row, write_between, write_results

PAGE = REPOSITORY / "docs" / "design" / "family.md"
REFERENCE = "yolo26n"
IMGSZ = 640
CONTROL = str(Path(__file__).resolve().parent / "controls" / "ghostyolo-n-dense.yaml")
MODELS = [
    "ghostyolo-p",
    "ghostyolo-n",
    CONTROL,
    "ghostyolo-s",
    "ghostyolo-m",
    "ghostyolo-l",
    "yolov13n-ghostnetv3",
    "yolov13n",
]
PEERS = [REFERENCE, "yolo11n", "yolo26s"]
ENGINES = ("onnxruntime", "openvino")
COLUMNS = {
    "model": "", "params, M": ".2f", "FLOPs, G": ".2f", "onnxruntime": ".3f", "openvino": ".3f", "FLOPs a ratio": ".1f",
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=MODELS, help="names or YAML files of detectors")
    parser.add_argument("--peers", nargs="*", default=PEERS)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--results", type=Path, default=RESULTS / "family.json")
    arguments = parser.parse_args()
    peers = [REFERENCE, *(peer for peer in arguments.peers if peer != REFERENCE)]
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        onnx = {peer: export_peer(peer, IMGSZ, 1, place) for peer in peers}
        costs = {peer: peer_costs(path) for peer, path in onnx.items()}
        files = {engine: dict(onnx) for engine in ENGINES}
        builder = Builder(place)
        for model in arguments.models:
            name = Path(model).stem if model.endswith((".yaml", ".yml")) else model
            for engine in ENGINES:
                files[engine][name] = exported(builder, name, model, engine, IMGSZ)
            costs[name] = costs_of(model)
        image = noise(IMGSZ)
        times = {
            engine: take_turns({name: open_file(engine, path, image) for name, path in own.items()}, arguments.rounds)
            for engine, own in files.items()
        }
    rows = read_rows(arguments.results)
    for name in costs:
        row = _row(name, costs[name], times)
        print(row, flush=True)
        rows = replace_row(rows, row, ("model",))
    write_results(
        arguments.results, rows, "onnxruntime", "openvino", "torch", "ultralytics-opencv-headless",
        threads=1, batch=1, imgsz=IMGSZ, rounds=arguments.rounds, reference=REFERENCE,
    )  # fmt: skip
    write_between(PAGE, "latency", markdown(rows, COLUMNS))


def costs_of(model: str) -> dict[str, float]:
    """Millions of deployed parameters and GFLOPs (2 x MACs) of a detector of 80 classes at 640 px, by name or YAML."""
    folded = fold(build_model(model, num_classes=80))
    macs = count_macs(folded, IMGSZ)
    return {"params_m": count_parameters(folded) / 1e6, "flops_g": 2 * macs / 1e9}


def _row(name: str, costs: dict[str, float], times: dict[str, dict[str, list[float]]]) -> Row:
    ratios = {engine: median_ratio(found, name, REFERENCE) for engine, found in times.items()}
    return {
        "model": name,
        "params, M": round(costs["params_m"], 3),
        "FLOPs, G": round(costs["flops_g"], 3),
        **{engine: round(ratio, 4) for engine, ratio in ratios.items()},
        "FLOPs a ratio": round(costs["flops_g"] / statistics.mean(ratios.values()), 2),
        **{f"{engine}_ms": round(statistics.median(found[name]), 2) for engine, found in times.items()},
    }


if __name__ == "__main__":
    main()
