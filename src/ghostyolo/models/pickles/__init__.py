"""Reads published pickles without running anything: tensors and plain containers come out, nothing else."""

from ghostyolo.models.pickles.interpreter import Unbuilt
from ghostyolo.models.pickles.network import Published, read_published
from ghostyolo.models.pickles.torch_file import TorchFile, View, open_torch_file

__all__ = ["Published", "TorchFile", "Unbuilt", "View", "open_torch_file", "read_published"]
