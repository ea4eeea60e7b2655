"""The search that the ghostyolo family comes from: candidates of each scale, their time, their size, their accuracy.

    python benchmarks/search.py                                      # both steps; the second takes an hour and more
    python benchmarks/search.py --steps latency                      # minutes
    python benchmarks/search.py --steps accuracy --scales p n --seeds 0 1
    python benchmarks/search.py --candidates mine.yaml --results mine.json

1. Latency: every candidate of ``candidates.yaml`` beside YOLO26-n, as family.py measures (640 px, 80 classes, one
   thread, ONNX Runtime and OpenVINO, medians of paired ratios).
2. Accuracy: candidates within their scale's limit in both engines are trained from scratch on BCCD by
   ``recipes/bccd_search.yaml``, with one branch, as accuracy.py does; finished runs are kept. AP that was reached by
   another recipe than the file's of today is forgotten.

Marked is the candidate of highest mean AP among those within the limit of its scale, and those lower by less than twice
the standard error of the difference (noise pooled over the scale's candidates, from two seeds on), which the search
does not tell from it. ghostyolo-SCALE changes only where "as it is" is told apart from the highest. Writes
``results/search.json`` and the table of docs/design/search.md.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import tempfile
from pathlib import Path
from typing import Any

import yaml

from accuracy import RECIPES, score, train
from family import ENGINES, IMGSZ, REFERENCE, costs_of
from ghostyolo.benchmark.build import Builder
from ghostyolo.benchmark.ultralytics_peer import export_peer
from ghostyolo.models.detector import fill_in
from ghostyolo.models.names import zoo_config
from latency import exported, median_ratio, noise, open_file, take_turns
from report import REPOSITORY, RESULTS, Row, data_root, markdown, read_rows, write_between, write_results

PAGE = REPOSITORY / "docs" / "design" / "search.md"
CANDIDATES = Path(__file__).resolve().parent / "candidates.yaml"
DATA, RECIPE, BRANCHES = "bccd", "bccd_search", 1
COLUMNS = {
    "scale": "", "candidate": "", "params, M": ".2f", "FLOPs, G": ".2f", "onnxruntime": ".3f", "openvino": ".3f",
    "FLOPs a ratio": ".1f", "AP": ".1f", "seeds": "", "AP a ratio": ".0f", "": "",
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", nargs="+", choices=["latency", "accuracy"], default=["latency", "accuracy"])
    parser.add_argument("--scales", nargs="+", help="default: all of the candidates' file")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1])
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--candidates", type=Path, default=CANDIDATES)
    parser.add_argument("--data-root", type=Path, default=data_root())
    parser.add_argument("--runs", type=Path, default=Path("runs/search"))
    parser.add_argument("--results", type=Path, default=RESULTS / "search.json")
    parser.add_argument("more", nargs="*", help="after --: options for ghostyolo train")
    arguments = parser.parse_args()
    declared = yaml.safe_load(arguments.candidates.read_text(encoding="utf-8"))
    scales = {scale: declared[scale] for scale in arguments.scales or declared}
    order = [(scale, name) for scale, group in declared.items() for name in group["candidates"]]
    recipe = yaml.safe_load((RECIPES / f"{RECIPE}.yaml").read_text(encoding="utf-8"))
    # Rows of candidates that are declared no more are dropped.
    rows = [row for row in _read(arguments.results, recipe) if (row["scale"], row["candidate"]) in order]
    files = {
        (scale, name): _declare(scale, name, change, arguments.runs / "models")
        for scale, group in scales.items()
        for name, change in group["candidates"].items()
    }

    def keep(changed: list[Row]) -> list[Row]:
        """The rows in the order of the candidates' file, with these in the places of their like; written at once."""
        known = {(row["scale"], row["candidate"]): row for row in [*rows, *changed]}
        kept = [known[key] for key in order if key in known]
        _choose(kept)
        write_results(
            arguments.results, kept, "onnxruntime", "openvino", "torch", "ultralytics-opencv-headless",
            threads=1, batch=1, imgsz=IMGSZ, rounds=arguments.rounds, reference=REFERENCE, data=DATA, recipe=recipe,
        )  # fmt: skip
        return kept

    if "latency" in arguments.steps:
        rows = keep([_with_ap(row, rows) for row in _latencies(files, scales, arguments.rounds)])
    if "accuracy" in arguments.steps:
        # Seed by seed, so that every candidate has one before any has two.
        for seed in arguments.seeds:
            for row in [row for row in rows if row["scale"] in scales and row["within"]]:
                model = files[row["scale"], row["candidate"]]
                folder = train(
                    str(model), DATA, BRANCHES, seed, arguments.runs, arguments.data_root, arguments.more, RECIPE
                )
                row["APs"] = {**row.get("APs", {}), str(seed): score(folder, arguments.data_root)["AP"]}
                rows = keep([row])
                print(row, flush=True)
    table = [_shown(row) for row in rows]
    print(markdown(table, COLUMNS))
    if arguments.results == RESULTS / "search.json":
        write_between(PAGE, "candidates", markdown(table, COLUMNS))


def _read(results: Path, recipe: dict[str, Any]) -> list[Row]:
    """Rows of before, without their AP where another recipe reached it."""
    rows = read_rows(results)
    if rows and json.loads(results.read_text(encoding="utf-8")).get("recipe") != recipe:
        print(f"{results}: its APs are of another recipe than {RECIPE}.yaml, and are left out", flush=True)
        rows = [{**row, "APs": {}} for row in rows]
    return rows


def _declare(scale: str, name: str, change: dict[str, dict[str, Any]], folder: Path) -> Path:
    """The YAML file of a candidate: ghostyolo-SCALE with its changes."""
    config = fill_in(zoo_config(f"ghostyolo-{scale}"))
    parts = {}
    for kind in ("backbone", "neck", "head"):
        part = getattr(config, kind)
        own = {key: list(value) if isinstance(value, tuple) else value for key, value in part.params.items()}
        parts[kind] = {"type": part.type, **own, **change.get(kind, {})}
    path = folder / f"{scale} {name}.yaml".replace(" ", "_").replace("/", "-").replace(",", "")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(parts), encoding="utf-8")
    return path


def _latencies(files: dict[tuple[str, str], Path], scales: dict[str, Any], rounds: int) -> list[Row]:
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        builder = Builder(place)
        peer = export_peer(REFERENCE, IMGSZ, 1, place)
        image = noise(IMGSZ)
        times = {}
        for engine in ENGINES:
            calls = {
                str(key): open_file(engine, exported(builder, path.stem, str(path), engine, IMGSZ), image)
                for key, path in files.items()
            }
            times[engine] = take_turns({**calls, REFERENCE: open_file(engine, peer, image)}, rounds)
    rows = []
    for (scale, name), path in files.items():
        ratios = {engine: median_ratio(found, str((scale, name)), REFERENCE) for engine, found in times.items()}
        costs = costs_of(str(path))
        rows.append(
            {
                "scale": scale,
                "candidate": name,
                "params, M": round(costs["params_m"], 3),
                "FLOPs, G": round(costs["flops_g"], 3),
                **{engine: round(ratio, 4) for engine, ratio in ratios.items()},
                "within": max(ratios.values()) <= scales[scale]["limit"],
            }
        )
    return rows


def _with_ap(row: Row, before: list[Row]) -> Row:
    """The row with the AP that it had before, unless its name stands for another network now."""
    same = ("scale", "candidate", "params, M", "FLOPs, G")
    for old in before:
        if old.get("APs") and all(old[key] == row[key] for key in same):
            return {**row, "APs": old["APs"]}
    return row


def _choose(rows: list[Row]) -> None:
    """Mark each scale's choice, and what noise does not tell from it."""
    for scale in dict.fromkeys(row["scale"] for row in rows):
        mine = [row for row in rows if row["scale"] == scale]
        tried = [row for row in mine if row["within"] and row.get("APs")]
        best = max(tried, key=_mean_ap, default=None)
        spreads = [statistics.variance(row["APs"].values()) for row in tried if len(row["APs"]) > 1]
        noise_variance = statistics.mean(spreads) if spreads else None
        for row in mine:
            row["verdict"] = ""
            if not row["within"]:
                row["verdict"] = "over the limit"
            elif row is best:
                row["verdict"] = "highest"
            elif row in tried and best is not None and noise_variance is not None:
                error = math.sqrt(noise_variance * (1 / len(row["APs"]) + 1 / len(best["APs"])))
                row["verdict"] = "not told apart" if _mean_ap(best) - _mean_ap(row) < 2 * error else "lower"


def _mean_ap(row: Row) -> float:
    return statistics.mean(row["APs"].values())


def _shown(row: Row) -> Row:
    ratio = statistics.mean(row[engine] for engine in ENGINES)
    shown = {**row, "FLOPs a ratio": row["FLOPs, G"] / ratio, "": row["verdict"]}
    if row.get("APs"):
        ap = 100 * _mean_ap(row)
        shown |= {"AP": ap, "seeds": len(row["APs"]), "AP a ratio": ap / ratio}
    return shown


if __name__ == "__main__":
    main()
