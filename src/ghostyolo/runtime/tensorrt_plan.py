"""A ``.engine`` file: TensorRT's plan, then our metadata, so that the plan can be cut out.

    plan | JSON in UTF-8 | its length, 8 bytes, little endian | ``GHYOLO01``

A plan without this end, as ``trtexec`` writes it, takes its metadata from the ``.onnx`` of the same name beside it,
which is the one it was built from.
"""

from __future__ import annotations

from pathlib import Path

from ghostyolo.errors import WeightsError
from ghostyolo.metadata import METADATA_KEY, ModelMetadata

MAGIC = b"GHYOLO01"
_LENGTH = 8


def join_plan(plan: bytes, metadata: ModelMetadata) -> bytes:
    """The bytes of the file."""
    text = metadata.to_json().encode()
    return plan + text + len(text).to_bytes(_LENGTH, "little") + MAGIC


def split_plan(data: bytes, where: str) -> tuple[bytes, str | None]:
    """The plan, and the JSON or None where there is no such end.

    Raises:
        WeightsError: an end that says more bytes than there are.
    """
    if not data.endswith(MAGIC):
        return data, None
    end = len(data) - len(MAGIC) - _LENGTH
    start = end - int.from_bytes(data[max(end, 0) : end + _LENGTH], "little")
    if end < 0 or start < 0:
        raise WeightsError(f"{where} is damaged: its metadata is longer than the file; export it again")
    try:
        return data[:start], data[start:end].decode()
    except UnicodeDecodeError as error:
        raise WeightsError(f"{where} is damaged: its metadata is no text; export it again") from error


def metadata_beside(path: Path) -> str | None:
    """The JSON in the ONNX file that a plan was built from; None: there is none."""
    source = path.with_suffix(".onnx")
    if not source.is_file():
        return None
    import onnxruntime

    try:
        session = onnxruntime.InferenceSession(str(source), providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's own errors share no base class but this
        raise WeightsError(f"{source}, which holds the metadata of {path.name}, is damaged: export it again") from error
    return session.get_modelmeta().custom_metadata_map.get(METADATA_KEY)
