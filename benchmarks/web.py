"""Times a detector's page in Chromium beside ONNX Runtime in Python: WebAssembly on one thread and several.

``python benchmarks/web.py --out benchmarks/results/web.json`` writes the medians as they came, with the machine's load.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import tempfile
import time
from pathlib import Path

from ghostyolo.data.images import read_image
from ghostyolo.export.web import NETWORK
from ghostyolo.export.web.browser import find_browser, run_in_browser
from ghostyolo.export.web.folder import write_page
from ghostyolo.export.web.runtime_files import fetch_runtime
from ghostyolo.files import write_json
from ghostyolo.runtime.predictor import load
from ghostyolo.runtime.weights import assets_folder, resolve_weights


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", default="digits")
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    program = find_browser()
    if program is None:
        raise SystemExit("no Chromium is on this machine")
    weights = resolve_weights(arguments.weights, suffixes=(".onnx",))
    picture = read_image(assets_folder() / "pictures" / "digits-1.jpg")
    rows = []
    with tempfile.TemporaryDirectory() as room:
        folder = Path(room) / "page_web"
        folder.mkdir()
        shutil.copyfile(weights, folder / NETWORK)
        write_page(folder, load(weights).metadata, fetch_runtime())
        for threads in arguments.threads:
            predictor, times = load(weights, threads=threads), []
            predictor.detect([picture])
            answer = run_in_browser(program, folder, [picture], 0.25, threads=threads, runs=arguments.runs + 1)
            page = [sum(run.values()) for run in answer["pictures"][0]["milliseconds"][1:]]
            network = [run["network"] for run in answer["pictures"][0]["milliseconds"][1:]]
            for _ in range(arguments.runs):
                start = time.perf_counter()
                predictor.detect([picture])
                times.append(1000 * (time.perf_counter() - start))
            rows.append(
                {
                    "threads": threads,
                    "page_ms": statistics.median(page),
                    "page_network_ms": statistics.median(network),
                    "python_ms": statistics.median(times),
                    "ratio": statistics.median(page) / statistics.median(times),
                    "load": os.getloadavg()[0],
                    "browser": answer["browser"],
                }
            )
    write_json(arguments.out, {"weights": arguments.weights, "runs": arguments.runs, "rows": rows})


if __name__ == "__main__":
    main()
