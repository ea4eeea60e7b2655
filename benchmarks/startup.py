"""How long ``import ghostyolo`` and ``ghostyolo --help`` take: wall-clock, each in fresh processes.

    python benchmarks/startup.py

The import is timed inside its process; the command is timed from outside, the start of Python included. One run of
each comes first and is not counted, so that files are in the system's cache, as they are on a second call.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path

from report import RESULTS, Row, markdown, write_results

IMPORT = "import time; t = time.perf_counter(); import ghostyolo; print(time.perf_counter() - t)"


def import_seconds() -> float:
    """Seconds for ``import ghostyolo``, Python already running."""
    done = subprocess.run([sys.executable, "-c", IMPORT], capture_output=True, text=True, check=True)
    return float(done.stdout)


def process_seconds(*arguments: str) -> float:
    """Seconds from starting Python to its end."""
    start = time.perf_counter()
    subprocess.run([sys.executable, *arguments], stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--repeats", type=int, default=10, help="fresh processes of each")
    parser.add_argument("--results", type=Path, default=RESULTS / "startup.json")
    args = parser.parse_args()

    measures = {
        "import ghostyolo": import_seconds,
        "ghostyolo --help": lambda: process_seconds("-m", "ghostyolo.cli.main", "--help"),
        "python -c pass": lambda: process_seconds("-c", "pass"),
    }
    rows: list[Row] = []
    for what, measure in measures.items():
        measure()
        seconds = [measure() for _ in range(args.repeats)]
        rows.append({"what": what, "seconds": round(statistics.median(seconds), 4), "repeats": args.repeats})
    write_results(args.results, rows, "typer", "rich")
    print(markdown(rows, {"what": "", "seconds": ".3f", "repeats": "d"}))


if __name__ == "__main__":
    main()
