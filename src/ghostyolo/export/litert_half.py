"""Store the weights of a TFLite file in float16, with ai-edge-quantizer: about half the file, the same graph.

A Dequantize before each use turns them back, so LiteRT computes in float32 on the CPU.
"""

from __future__ import annotations

from pathlib import Path

FLOAT_BITS = 16


def store_half(path: Path) -> None:
    """Replace the file by a smaller one."""
    from ai_edge_quantizer import qtyping, quantizer

    half = quantizer.Quantizer(str(path))
    half.update_quantization_recipe(
        ".*",
        qtyping.TFLOperationName.ALL_SUPPORTED,
        qtyping.OpQuantizationConfig(
            weight_tensor_config=qtyping.TensorQuantizationConfig(FLOAT_BITS, dtype=qtyping.TensorDataType.FLOAT),
            compute_precision=qtyping.ComputePrecision.FLOAT,
            explicit_dequantize=True,
        ),
        quantizer.AlgorithmName.FLOAT_CASTING,
    )
    small = path.with_name(f"half-{path.name}")
    half.quantize(serialize_to_path=str(small), enable_progress_report=False)
    small.replace(path)
