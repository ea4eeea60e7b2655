"""Put finished grids of ``ghostyolo ablate`` into results/ablation and into the tables of docs/ablate.md.

    ghostyolo ablate benchmarks/ablate/bccd-teacher.yaml --data DATA/bccd --out runs/bccd-teacher
    python benchmarks/ablation_tables.py runs/bccd-teacher runs/cifar10-cpu

The folder's name is the grid's. Its ablation.json and ablation.png are kept, and its table goes between the marks of
that name.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

from ghostyolo.files import write_json
from report import REPOSITORY, RESULTS, Row, markdown, write_between

PAGE = REPOSITORY / "docs" / "ablate.md"
PICTURES = REPOSITORY / "docs" / "images"
COLUMNS = {
    "model": "", "cell": "", "top-1 or AP": ".1f", "deviation": ".1f", "difference": "+.1f", "95 % interval": "",
    "shows": "", "cost": ".2f",
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("grids", nargs="+", type=Path)
    for folder in parser.parse_args().grids:
        found = json.loads((folder / "ablation.json").read_text(encoding="utf-8"))
        found["grid"]["data"] = Path(found["grid"]["data"]).name
        write_json(RESULTS / "ablation" / f"{folder.name}.json", found)
        shutil.copyfile(folder / "ablation.png", PICTURES / f"ablation-{folder.name}.png")
        write_between(PAGE, folder.name, markdown([_row(line) for line in found["table"]], COLUMNS))


def _row(line: dict[str, Any]) -> Row:
    gap = line["difference"] or {}
    interval = None if gap.get("low") is None else f"{gap['low']:+.1f} to {gap['high']:+.1f}"
    return {
        **{key: line[key] for key in ("model", "cell", "deviation", "cost")},
        "top-1 or AP": line["mean"],
        "difference": gap.get("mean"),
        "95 % interval": interval,
        "shows": None if line["verdict"] == "base" else line["verdict"],
    }


if __name__ == "__main__":
    main()
