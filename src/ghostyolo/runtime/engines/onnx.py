"""Runs ``.onnx`` files on ONNX Runtime, without torch.

They are ours, or another program's whose layout is known. Input ``images`` (B, C, H, W); the metadata, which says what
the outputs are, is in ``metadata_props["ghostyolo"]``.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ghostyolo.errors import ConfigError, WeightsError, suggest
from ghostyolo.metadata import METADATA_KEY, ModelMetadata
from ghostyolo.runtime.engines import EngineKind, EngineSetup, parse_device
from ghostyolo.runtime.engines.exported import Array, ExportedEngine
from ghostyolo.runtime.foreign_onnx import Foreign, Port, recognise

log = logging.getLogger(__name__)

_ERRORS_ONLY = 3
_PROVIDER = "provider"
# Of onnxruntime_session_options_config_keys.h, those that change how a network runs; ONNX Runtime checks no name.
_CONFIGURATION = (
    "session.intra_op.allow_spinning",
    "session.inter_op.allow_spinning",
    "session.force_spinning_stop",
    "session.dynamic_block_base",
    "session.intra_op_thread_affinities",
    "session.set_denormal_as_zero",
    "session.disable_prepacking",
    "session.disable_quant_qdq",
    "session.use_env_allocators",
    "session.qdqisint8allowed",
    "optimization.enable_gelu_approximation",
    "mlas.enable_gemm_fastmath_arm64_bfloat16",
)


class OnnxEngine(ExportedEngine):
    """A network in ONNX Runtime.

    Args:
        path: a file that ``ghostyolo export`` wrote, or a detector of another program.
        setup: CUDA needs the onnxruntime-gpu package; threads None: one for each physical core. Options:
            ``provider`` (an execution provider, ``provider.KEY`` its own options), the attributes of
            ``SessionOptions``, and its configuration keys, such as ``session.intra_op.allow_spinning``.

    Raises:
        WeightsError: truncated, not ONNX, or no detector of a known layout.
        ConfigError: the device, provider or option is unknown, or this install of ONNX Runtime cannot use it.
    """

    name = "onnxruntime"

    def __init__(self, path: Path, setup: EngineSetup) -> None:
        import onnxruntime

        self.path = path
        onnxruntime.set_default_logger_severity(_ERRORS_ONLY)
        providers = _providers(setup, onnxruntime.get_available_providers())
        options = _session_options(setup, onnxruntime)
        try:
            # Its fallback would print, and try the same again.
            self._session = onnxruntime.InferenceSession(
                str(path), sess_options=options, providers=providers, enable_fallback=0
            )
            header = self._session.get_modelmeta().custom_metadata_map  # fails where it is no text
        except Exception as error:  # ONNX Runtime's own errors share no base class but this
            reason = (str(error).strip().splitlines() or [type(error).__name__])[-1][:200]
            raise WeightsError(
                f"{path} cannot be opened: truncated, damaged or not an ONNX file; export or fetch it again ({reason})"
            ) from error
        wanted = providers[0] if isinstance(providers[0], str) else providers[0][0]
        if wanted not in self._session.get_providers():
            raise ConfigError(
                f"{wanted} could not be started (CUDA libraries that do not fit onnxruntime-gpu?): use --device cpu"
            )
        self._input = self._session.get_inputs()[0].name
        self._half = self._session.get_inputs()[0].type == "tensor(float16)"
        self._foreign: Foreign | None = None
        if METADATA_KEY in header:
            if setup.layout is not None:
                raise ConfigError(
                    f"{path} was written by ghostyolo and says itself how it answers: leave out the layout"
                )
            self.metadata = ModelMetadata.from_json(header[METADATA_KEY], str(path))
            names = {node.name for node in (*self._session.get_inputs(), *self._session.get_outputs())}
            missing = {"images", *self.export.outputs} - names
            if missing:
                raise WeightsError(f"{path} has no input or output named {', '.join(sorted(missing))}: export it again")
        else:
            inputs = {node.name: _port(node) for node in self._session.get_inputs()}
            answers = [node.name for node in self._session.get_outputs()]
            self._foreign = recognise(
                str(path),
                inputs,
                lambda images: dict(zip(answers, self._session.run(answers, {self._input: images}), strict=True)),
                header,
                setup.layout,
            )
            self.metadata = self._foreign.metadata
            log.warning(
                "%s was not written by ghostyolo: read as a detector with the layout '%s' and %d classes%s",
                path,
                self._foreign.layout.name,
                len(self.metadata.class_names),
                "" if self._foreign.task == "detect" else f"; of its task '{self._foreign.task}' only the boxes",
            )

    def run(self, images: Array) -> Sequence[npt.NDArray[Any]]:
        if self._foreign is not None:
            feed = self._foreign.feed(images)
        else:
            feed = images.astype(np.float16) if self._half else images
        return self._session.run(self.export.outputs, {self._input: feed})

    def _interpret(self, outputs: dict[str, Array], batch: int, canvas: tuple[int, int]) -> tuple[Array, Array]:
        if self._foreign is not None:
            return self._foreign.interpret(outputs, batch, canvas)
        return super()._interpret(outputs, batch, canvas)


def _port(node: Any) -> Port:
    """An input as the foreign reader wants it: free sizes None, ``tensor(float)`` as ``float``."""
    return Port([size if isinstance(size, int) else None for size in node.shape], node.type[len("tensor(") : -1])


def _session_options(setup: EngineSetup, library: Any) -> Any:
    options = library.SessionOptions()
    options.graph_optimization_level = library.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = _ERRORS_ONLY
    options.intra_op_num_threads = setup.threads or 0
    options.inter_op_num_threads = 1
    attributes = [name for name, value in vars(library.SessionOptions).items() if isinstance(value, property)]
    given = {name: value for name, value in setup.options.items() if not _is_of_provider(name)}
    EngineSetup(options=given).check_options("ONNX Runtime", [*attributes, *_CONFIGURATION, _PROVIDER])
    for name, value in given.items():
        if name in _CONFIGURATION:
            options.add_session_config_entry(name, str(int(value) if isinstance(value, bool) else value))
        else:
            _set_attribute(options, name, value)
    return options


def _set_attribute(options: Any, name: str, value: Any) -> None:
    kind = type(getattr(options, name))
    members = dict(getattr(kind, "__members__", {}))  # of enumerations such as graph_optimization_level
    try:
        setattr(options, name, members.get(value, value))
    except TypeError as error:
        allowed = suggest(str(value), members) if members else f"it takes {kind.__name__}"
        raise ConfigError(f"engine option {name} cannot be {value!r}: {allowed}") from error


def _is_of_provider(name: str) -> bool:
    return name == _PROVIDER or name.startswith(f"{_PROVIDER}.")


def _providers(setup: EngineSetup, available: list[str]) -> list[Any]:
    device = setup.device
    kind, number = parse_device(device)
    given = {
        name.partition(".")[2]: str(value) for name, value in setup.options.items() if name.startswith(f"{_PROVIDER}.")
    }
    provider = setup.options.get(_PROVIDER)
    if provider is not None:
        if provider not in available:
            raise ConfigError(f"this install of ONNX Runtime has no '{provider}': {suggest(str(provider), available)}")
        return [(provider, given), *([] if provider == "CPUExecutionProvider" else ["CPUExecutionProvider"])]
    if given:
        raise ConfigError("options of a provider need its name: add --engine-option provider=NAME")
    if kind == "cpu":
        return ["CPUExecutionProvider"]
    if "CUDAExecutionProvider" not in available:
        raise ConfigError(
            f"device {device} needs ONNX Runtime for CUDA: pip uninstall onnxruntime && pip install onnxruntime-gpu"
        )
    return [("CUDAExecutionProvider", {"device_id": number}), "CPUExecutionProvider"]


KIND = EngineKind("onnxruntime", ".onnx", OnnxEngine, packages=("onnxruntime", "onnxruntime-gpu"))
