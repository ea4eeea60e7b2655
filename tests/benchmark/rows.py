"""A measured row with everything filled in, to be changed where a test looks."""

from __future__ import annotations

from ghostyolo.benchmark.rows import Row

MACHINE = {
    "cpu": "Test CPU",
    "cores": 4,
    "memory_gib": 8.0,
    "system": "Linux x86_64",
    "python": "3.11.0",
    "packages": {"ghostyolo": "0.1.0", "onnxruntime": "1.20.0"},
}


def row(**changes) -> Row:
    fields = {
        "model": "small", "engine": "onnxruntime", "precision": "fp32", "threads": 1, "imgsz": 320, "median_ms": 10.0,
        "p95_ms": 12.0, "ratio": 1.0, "preprocess_ms": 1.0, "postprocess_ms": 0.5, "total_ms": 11.5,
        "total_p95_ms": 13.5, "images_per_second": 87.0, "memory_mb": 80.0, "file_mb": 4.8, "params_m": 2.3,
        "macs_g": 0.6, "flops_g": 1.2, "energy_j": None, "energy": "this machine shows no RAPL counters", "AP": None,
        "AP50": None, "device": "cpu", "batch": 1, "runs": 50, "weights": None, "machine": MACHINE,
    }  # fmt: skip
    return Row(**(fields | changes))
