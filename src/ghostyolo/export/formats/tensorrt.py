"""TensorRT plans (``x.engine``), built from our ONNX with TensorRT's Python API.

The version is 10 or 11. Networks are strongly typed: the graph says each precision, as TensorRT 11 demands and 10 can
(its flags for FP16 and INT8 and its calibrators are gone from 11). So ``fp16`` is a graph that computes in float16
(:func:`ghostyolo.export.half_precision.compute_half`), and ``int8`` one with QuantizeLinear and DequantizeLinear
(:mod:`ghostyolo.export.quantise.qdq`), weights and activations around zero, which is all that it takes. A plan is for
one kind of GPU and one version of TensorRT; the timings of the kernels it chose from are kept in the user's cache
folder, which makes the next build shorter.

Without a GPU or the library the ONNX is left in the plan's place, with the command that builds it elsewhere.

No machine of ours has an NVIDIA GPU: :func:`build_plan` is written from NVIDIA's documentation and has not been run.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ghostyolo.errors import ExportError
from ghostyolo.export.formats import ONNX_OPSETS, ExportFormat, Unfinished
from ghostyolo.extras import available, install_command
from ghostyolo.files import atomic_path, cache_folder
from ghostyolo.metadata import METADATA_KEY
from ghostyolo.runtime.engines.tensorrt import EXTRA, join_plan

if TYPE_CHECKING:
    import onnx

    from ghostyolo.export.deployed import ExportJob
    from ghostyolo.export.quantise import Canvas

INPUT = "images"
LARGEST_BATCH = 8
Shape = tuple[int, int, int, int]


def write(job: ExportJob, path: Path) -> None:
    """Write ``path``, see :mod:`ghostyolo.export.formats`.

    Raises:
        Unfinished: it cannot be built here; the ONNX lies beside ``path``.
        ExportError: TensorRT cannot take the network.
    """
    from ghostyolo.export.half_precision import compute_half
    from ghostyolo.export.onnx_graph import to_onnx

    proto = to_onnx(job)
    if job.metadata.export is not None and job.metadata.export.precision == "fp16":
        proto = compute_half(proto)
    finish(proto, job, path)


def quantise(job: ExportJob, path: Path, calibration: Sequence[Canvas], keep_float: frozenset[str]) -> None:
    """Write ``path`` in INT8, see :mod:`ghostyolo.export.quantise`.

    Raises:
        Unfinished: it cannot be built here; the ONNX lies beside ``path``.
        ExportError: ONNX Runtime cannot quantise the graph, or TensorRT cannot take it.
    """
    from ghostyolo.export.quantise.qdq import with_qdq

    finish(with_qdq(job, calibration, keep_float, symmetric=True), job, path)


def finish(proto: onnx.ModelProto, job: ExportJob, path: Path) -> None:
    """Build the plan of a graph that says its precision.

    Where that cannot be done the graph is left.

    Raises:
        Unfinished: it cannot be built here; the ONNX lies beside ``path``.
        ExportError: TensorRT cannot take the network.
    """
    import onnx

    onnx.helper.set_model_props(proto, {METADATA_KEY: job.metadata.to_json()})
    shapes = profile_shapes(job)
    reason = why_not_here()
    if reason is not None:
        source = path.with_suffix(".onnx")
        onnx.save(proto, source)

        def explain(kept: Path) -> str:
            command = trtexec_command(kept, kept.with_suffix(path.suffix), shapes)
            return (
                f"TensorRT cannot be built here: {reason}; {kept} is left for a machine that can, keep it beside the "
                f"engine (it holds the metadata): {command}"
            )

        raise Unfinished(source, explain)
    path.write_bytes(join_plan(build_plan(proto.SerializeToString(), shapes, timing_cache()), job.metadata))


def why_not_here() -> str | None:
    """What is missing to build a plan on this machine; None: nothing."""
    import torch

    if not available(EXTRA):
        return f"its package is not installed ({install_command('tensorrt')})"
    return None if torch.cuda.is_available() else "there is no CUDA device"


def profile_shapes(job: ExportJob) -> tuple[Shape, Shape, Shape] | None:
    """Return the smallest, usual and largest input (B, C, H, W).

    It is None where the file has a fixed size. From one cell of the coarsest level to twice the training size, up to
    :data:`LARGEST_BATCH` pictures.
    """
    if job.metadata.export is not None and job.metadata.export.canvas is not None:
        return None
    channels, stride = job.metadata.in_channels, job.metadata.stride
    height, width = job.options.canvas(job.metadata)
    return (
        (1, channels, stride, stride),
        (1, channels, height, width),
        (LARGEST_BATCH, channels, 2 * height, 2 * width),
    )


def trtexec_command(source: Path, target: Path, shapes: tuple[Shape, Shape, Shape] | None) -> str:
    """The line that builds the same plan with the tool that comes with TensorRT."""
    # TensorRT 10 needs to be told what 11 always does.
    parts = ["trtexec", f"--onnx={source}", f"--saveEngine={target}", "--stronglyTyped", "--noTF32"]
    for name, shape in zip(("min", "opt", "max"), shapes or (), strict=False):
        parts.append(f"--{name}Shapes={INPUT}:{'x'.join(map(str, shape))}")
    return shlex.join(parts)


def timing_cache() -> Path:
    """Where timings are kept between builds, one file a version of TensorRT."""
    import tensorrt

    return cache_folder() / f"tensorrt-{tensorrt.__version__}.timings"


def build_plan(onnx_bytes: bytes, shapes: tuple[Shape, Shape, Shape] | None, cache: Path) -> bytes:
    """The serialised plan.

    Args:
        onnx_bytes: a model, serialised.
        shapes: smallest, usual and largest input where it is not fixed.
        cache: file of timings, read and written.

    Raises:
        ExportError: TensorRT lacks an operator (named with its layer), or finds no way to run the network.
    """
    import tensorrt

    logger = tensorrt.Logger(tensorrt.Logger.ERROR)
    builder = tensorrt.Builder(logger)
    network = builder.create_network(1 << int(tensorrt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = tensorrt.OnnxParser(network, logger)
    if not parser.parse(onnx_bytes):
        error = parser.get_error(0)
        raise ExportError(
            f"TensorRT {tensorrt.__version__} cannot take operator {error.node_operator()} of layer "
            f"'{error.node_name()}': {' '.join(error.desc().split())[:200]}"
        )
    config = builder.create_builder_config()
    config.clear_flag(tensorrt.BuilderFlag.TF32)  # its 10 bits of mantissa move boxes
    if shapes is not None:
        profile = builder.create_optimization_profile()
        profile.set_shape(INPUT, *shapes)
        config.add_optimization_profile(profile)
    timings = config.create_timing_cache(cache.read_bytes() if cache.is_file() else b"")
    config.set_timing_cache(timings, ignore_mismatch=False)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise ExportError(f"TensorRT {tensorrt.__version__} found no way to run this network on this GPU")
    with atomic_path(cache) as room:
        room.write_bytes(bytes(config.get_timing_cache().serialize()))
    return bytes(plan)


# Its package and a GPU are looked for by the writer, which leaves the ONNX where they are missing.
FORMAT = ExportFormat("tensorrt", ".engine", "tensorrt", write, quantise, dynamic=True, opsets=ONNX_OPSETS)
