"""Measures networks of the ``ultralytics`` package.

They are written by its own ONNX exporter in a process of its own. Only its public interface is used and nothing is
fetched: networks are built, untrained, from the YAML files that the package brings.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from ghostyolo.benchmark.candidates import DEFAULT_ENGINE, Candidate, find_engine
from ghostyolo.errors import ConfigError, ExportError, suggest
from ghostyolo.extras import require

PEER = "ultralytics"
_SCALED = re.compile(r"(yolov?\d+)([a-z])(.*)")
_TASKS = ("-cls", "-seg", "-pose", "-obb", "-sem", "-depth", "-world")


def peer_candidates(against: str, engines: Sequence[str], imgsz: int | None) -> list[Candidate]:
    """``"ultralytics:yolo26n,yolo11n"`` as candidates on ONNX Runtime.

    Raises:
        ConfigError: another form, or a network that the package has not.
        MissingExtraError: the package is not installed.
    """
    package, colon, names = against.partition(":")
    wanted = [name.removesuffix(".yaml") for name in names.split(",") if name]
    if package != PEER or not colon or not wanted:
        raise ConfigError(f"--against '{against}': write {PEER}:NAME,NAME, such as {PEER}:yolo26n,yolo11n")
    require(PEER, f"--against {against}")
    if engines and DEFAULT_ENGINE not in engines:
        raise ConfigError(f"--against measures on {DEFAULT_ENGINE}: add it to --engine")
    find_engine(DEFAULT_ENGINE)
    known = _detectors()
    for name in wanted:
        match = _SCALED.fullmatch(name)
        if name not in known and (match is None or f"{match[1]}{match[3]}" not in known):
            scaled = [f"{stem}n" for stem in known]
            raise ConfigError(f"{PEER} has no detector '{name}': {suggest(name, scaled)}")
    return [Candidate(f"{PEER}:{name}", "ultralytics", name, DEFAULT_ENGINE, imgsz) for name in wanted]


def _detectors() -> set[str]:
    """Stems of the package's YAML files of detectors, without a scale letter; nothing is imported."""
    spec = importlib.util.find_spec(PEER)
    roots = list(spec.submodule_search_locations or []) if spec is not None else []
    stems = {path.stem for root in roots for path in (Path(root) / "cfg" / "models").rglob("*.yaml")}
    return {stem for stem in stems if not any(task in stem for task in _TASKS)}


def export_peer(name: str, imgsz: int, batch: int, folder: Path) -> Path:
    """Build the network and export it at one size, once.

    Counts of it go into a JSON file beside it.

    Raises:
        ExportError: the package could not.
    """
    place = folder / f"{PEER}-{name}-{imgsz}"
    target = place / f"{name}.onnx"
    if target.exists():
        return target
    place.mkdir(parents=True, exist_ok=True)
    offline = {"YOLO_CONFIG_DIR": str(place), "YOLO_OFFLINE": "true", "YOLO_AUTOINSTALL": "false"}
    package = str(Path(__file__).resolve().parents[2])
    paths = os.pathsep.join([package, *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [sys.executable, "-m", "ghostyolo.benchmark.ultralytics_peer", name, str(imgsz), str(batch)],
        cwd=place,
        env={**os.environ, **offline, "PYTHONPATH": paths},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    if done.returncode or not target.exists():
        words = (done.stderr.strip() or done.stdout.strip() or "no word").splitlines()[-1]
        raise ExportError(f"{PEER} could not export {name} to ONNX: {words[:200]}")
    return target


def peer_costs(path: Path) -> dict[str, float]:
    """Parameters and MACs that were counted at the export."""
    counted: dict[str, float] = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    return counted


def main() -> None:
    """Build, count and export: NAME IMGSZ BATCH, into the current folder."""
    import torch
    from torch import nn
    from ultralytics import YOLO

    from ghostyolo.models.count import count_macs, count_parameters

    name, imgsz, batch = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])

    class Maps(nn.Module):
        """The network up to its head's raw maps: decoding them has no products to count."""

        def __init__(self, detector: nn.Module) -> None:
            super().__init__()
            self.detector = detector

        def forward(self, images: torch.Tensor) -> object:
            self.detector.model[-1].training = True  # type: ignore[index, union-attr]
            return self.detector(images)

    torch.manual_seed(0)
    network = YOLO(f"{name}.yaml", verbose=False)
    exported = Path(network.export(format="onnx", imgsz=imgsz, batch=batch, dynamic=False, simplify=True))
    folded = YOLO(f"{name}.yaml", verbose=False).model.eval().fuse(verbose=False)
    macs = count_macs(Maps(folded), imgsz)
    counts = {"params_m": count_parameters(folded) / 1e6, "macs_g": macs / 1e9, "flops_g": 2 * macs / 1e9}
    target = Path(f"{name}.onnx")
    if exported.resolve() != target.resolve():
        exported.replace(target)
    target.with_suffix(".json").write_text(json.dumps(counts), encoding="utf-8")


if __name__ == "__main__":
    main()
