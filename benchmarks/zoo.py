"""Count the zoo at 640 px and 80 classes, for ``ghostyolo models`` and the table in docs/models.md.

    python benchmarks/zoo.py

Writes src/ghostyolo/models/zoo/costs.json and the rows between the table's marks in docs/models.md. Nothing is timed.
"""

from __future__ import annotations

import json
import re
import sys

from ghostyolo.files import write_json
from ghostyolo.models.costs import CLASSES, IMGSZ
from ghostyolo.models.describe import describe_model
from ghostyolo.models.names import list_models
from report import REPOSITORY, markdown

COSTS = REPOSITORY / "src" / "ghostyolo" / "models" / "zoo" / "costs.json"
PAGE = REPOSITORY / "docs" / "models.md"
COLUMNS = {"name": "", "params_deployed_m": ".2f", "params_m": ".2f", "macs_g": ".2f", "flops_g": ".2f"}
HEADS = "| name | params deployed (M) | params in training (M) | MACs (G) | FLOPs (G) |"
_TABLE = re.compile(r"(<!-- models table.*?-->\n\n).*?(\n\n<!-- end of the models table -->)", re.DOTALL)


def main() -> None:
    rows = []
    for name in list_models():
        rows.append(describe_model(name, IMGSZ, CLASSES))
        print(json.dumps(rows[-1]), flush=True)
    write_json(COSTS, rows)
    table = markdown(rows, COLUMNS).split("\n", 1)[1]
    page, count = _TABLE.subn(lambda match: f"{match[1]}{HEADS}\n{table}{match[2]}", PAGE.read_text(encoding="utf-8"))
    if count != 1:
        sys.exit(f"{PAGE} has no place for the table")
    PAGE.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
