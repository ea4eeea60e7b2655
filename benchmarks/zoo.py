"""Count the zoo at 640 px and 80 classes, for ``ghostyolo models`` and the table in docs/models.md.

    python benchmarks/zoo.py

Writes src/ghostyolo/models/zoo/costs.json and the rows between the table's marks in docs/models.md. Nothing is timed.
"""

from __future__ import annotations

import json

from ghostyolo.files import write_json
from ghostyolo.models.costs import CLASSES, IMGSZ, describe_model
from ghostyolo.models.names import list_models
from report import REPOSITORY, markdown, write_between

COSTS = REPOSITORY / "src" / "ghostyolo" / "models" / "zoo" / "costs.json"
PAGE = REPOSITORY / "docs" / "models.md"
COLUMNS = {"name": "", "params_deployed_m": ".2f", "params_m": ".2f", "macs_g": ".2f", "flops_g": ".2f"}
HEADS = "| name | params deployed (M) | params in training (M) | MACs (G) | FLOPs (G) |"


def main() -> None:
    rows = []
    for name in list_models():
        rows.append(describe_model(name, IMGSZ, CLASSES))
        print(json.dumps(rows[-1]), flush=True)
    write_json(COSTS, rows)
    table = markdown(rows, COLUMNS).split("\n", 1)[1]
    write_between(PAGE, "models", f"{HEADS}\n{table}")


if __name__ == "__main__":
    main()
