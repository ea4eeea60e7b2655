"""What each backbone costs at 640 x 640, and where timm's own features are not the deepest of their stride.

    python benchmarks/backbones.py           # every scale; n and s are the table in docs/backbones.md
    python benchmarks/backbones.py --timm    # every network of timm: over half an hour on two cores, a few GiB

Everything is counted on shapes alone: nothing is timed, no weights are made.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path
from typing import Any

import torch

from ghostyolo.errors import ConfigError
from ghostyolo.models.backbones.library_adapter import STRIDES
from ghostyolo.models.backbones.stage_ends import find_stage_ends
from ghostyolo.models.count import count_macs, count_parameters
from ghostyolo.models.registry import build_part, describe_part, list_parts
from ghostyolo.nn.reparam import fold
from report import REPOSITORY, RESULTS, Row, markdown, write_results

IMGSZ = 640
PAGE = REPOSITORY / "docs" / "backbones.md"
COLUMNS = {"backbone": "", "scale": "", "size": "", "channels": "", "params_m": ".2f", "macs_g": ".2f"}
HEADS = "| backbone | scale | size | channels at 8, 16, 32 | parameters (M) | MACs (G) |"
_TABLE = re.compile(r"(<!-- backbones table.*?-->\n\n).*?(\n\n<!-- end of the backbones table -->)", re.DOTALL)


def count_backbone(name: str, params: dict[str, Any]) -> Row:
    """Folded parameters and MACs of one picture, the backbone alone."""
    with torch.device("meta"):
        backbone = build_part("backbone", name, params, {"in_channels": 3}).eval()
        folded = fold(backbone)
    return {
        "channels": ", ".join(map(str, backbone.channels)),
        "params_m": round(count_parameters(folded) / 1e6, 4),
        "macs_g": round(count_macs(folded, IMGSZ) / 1e9, 4),
    }


def count_all() -> list[Row]:
    """One row for each backbone and scale; scales of the same parameters share one."""
    rows: list[Row] = []
    for name in list_parts("backbone"):
        part = describe_part("backbone", name)
        if None in part["params"].values():
            continue  # "timm" and "torchvision", which are any network
        sizes: dict[str, dict[str, Any]] = part["scales"] or {"": {}}
        same: dict[str, list[str]] = {}
        for letter, params in sizes.items():
            same.setdefault(repr(params), []).append(letter)
        for letters in same.values():
            params = sizes[letters[0]]
            row = {"backbone": name, "scale": " ".join(letters) or "all", "size": _in_words(params)}
            rows.append({**row, **count_backbone(name, params)})
            print(rows[-1], flush=True)
    return rows


def _in_words(params: dict[str, Any]) -> str:
    words = []
    for key, value in params.items():
        if isinstance(value, bool):
            words += [key] if value else []
        else:
            words.append(value if isinstance(value, str) else f"{key} {value:g}")
    return ", ".join(words)


def compare_timm() -> list[Row]:
    """One row for each network of timm that is a chain: our maps and those of ``features_only``."""
    import timm

    rows: list[Row] = []
    names = timm.list_models()
    for position, name in enumerate(names):
        row: Row = {"name": name, "ours": None, "timm": None}
        try:
            with torch.device("meta"):
                net = timm.create_model(name, num_classes=0)
                found = find_stage_ends(net, 3, STRIDES)
        except Exception as error:  # a network of one size, or one that is no picture's
            row["refused"] = str(error).splitlines()[0][:80] if str(error) else type(error).__name__
        else:
            if found is not None:
                chain, ends = found
                row["ours"] = {s: [chain[i].path, chain[i].channels] for s, i in zip(STRIDES, ends, strict=True)}
            # The same list that features_only takes its maps from.
            info = {entry["reduction"]: entry for entry in getattr(net, "feature_info", [])}
            if set(STRIDES) <= set(info):
                row["timm"] = {s: [info[s]["module"], info[s]["num_chs"]] for s in STRIDES}
        rows.append(row)
        print(f"{position + 1} of {len(names)}: {name}", file=sys.stderr, flush=True)
    return rows


def summarise(rows: list[Row]) -> tuple[dict[str, int], list[Row]]:
    """How many there are of each kind, and the rows whose maps have other channels than timm's."""
    compared = [row for row in rows if row["ours"] and row["timm"]]
    differing = []
    for row in compared:
        strides = [s for s in STRIDES if row["ours"][s][1] != row["timm"][s][1]]
        if strides:
            differing.append({**row, "strides": strides})
    counts = {
        "networks": len(rows),
        "refused": sum("refused" in row for row in rows),
        "chains": sum(row["ours"] is not None for row in rows),
        "compared": len(compared),
        "differing": len(differing),
    }
    return counts, differing


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--timm", action="store_true", help="compare with every network of timm instead")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder")
    args = parser.parse_args()
    if args.timm:
        rows = compare_timm()
        counts, differing = summarise(rows)
        write_results(args.results / "timm_features.json", differing, "timm", "torch", **counts)
        print(counts)
        return
    rows = count_all()
    write_results(args.results / "backbones.json", rows, "timm", "torchvision", "torch", imgsz=IMGSZ)
    shown = [row for row in rows if set(row["scale"].split()) & {"n", "s", "all"}]
    table = markdown(shown, COLUMNS).split("\n", 1)[1]
    page, count = _TABLE.subn(lambda match: f"{match[1]}{HEADS}\n{table}{match[2]}", PAGE.read_text(encoding="utf-8"))
    if count != 1:
        raise ConfigError(f"{PAGE} has no place for the table")
    PAGE.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
