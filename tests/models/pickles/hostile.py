"""Files that a program of torch's would be harmed by, and networks that only this module's classes describe."""

from __future__ import annotations

import pickle
import struct
import sys
import types
import zipfile
from pathlib import Path
from typing import Any

PROOF = "was-run"


class Calls:
    """Pickles as a call."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


def archive(path: Path, program: bytes, *, compress: bool = False, **records: bytes) -> Path:
    """Write a file of torch's form around any program."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED if compress else zipfile.ZIP_STORED) as file:
        file.writestr("archive/data.pkl", program)
        for name, data in records.items():
            file.writestr(f"archive/data/{name}", data)
    return path


def text_call(module: str, name: str, argument: str) -> bytes:
    """A pickle that calls a function with one text, in the oldest protocol."""
    return f"c{module}\n{name}\n(S'{argument}'\ntR.".encode()


def tensor_program(offset: int, size: str, stride: str, key: str = "0") -> bytes:
    """A pickle of one float tensor whose numbers are as given, as in ``(2I3I``."""
    return (
        b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n((X\x07\x00\x00\x00storagectorch\nFloatStorage\n"
        + b"X" + struct.pack("<I", len(key)) + key.encode() + b"X\x03\x00\x00\x00cpuK\x04tQ"
        + f"I{offset}\n({size}t({stride}t".encode() + b"\x89N" + b"tR."
    )  # fmt: skip


def programs() -> dict[str, bytes]:
    """Pickles that must be refused, by what they try."""
    touch = f"touch {PROOF}"
    deep = b"(" * 50_000 + b"t" * 50_000
    return {
        "os.system": text_call("os", "system", touch),
        "posix.system": text_call("posix", "system", touch),
        "nt.system": text_call("nt", "system", touch),
        "builtins.eval": text_call("builtins", "eval", f"open('{PROOF}', 'w')"),
        "builtins.exec": pickle.dumps(Calls(exec, f"open('{PROOF}', 'w')")),
        "__builtin__.eval": text_call("__builtin__", "eval", f"open('{PROOF}', 'w')"),
        "builtins.getattr": pickle.dumps(Calls(getattr, Calls(__import__, "os"), "system")),
        "getattr of a class": b"cbuiltins\ngetattr\n(csomebody.nn\nThing\nS'run'\ntR.",
        "call of a method": b"cbuiltins\ngetattr\n(csomebody.nn\nThing\n)RS'run'\ntR(S'x'\ntR.",
        "subprocess.Popen": text_call("subprocess", "Popen", touch),
        "runpy.run_path": text_call("runpy", "_run_code", touch),
        "torch.load": text_call("torch.serialization", "load", "x.pt"),
        "torch.hub.load": text_call("torch.hub", "load", "x"),
        "numpy.testing": text_call("numpy.testing._private.utils", "runstring", touch),
        "pip": text_call("pip._internal", "main", "install x"),
        "name of two lines": b"\x80\x04\x8c\x02os\x8c\x0dsys\ntem\x1b[31mx\x93)R.",
        "old instance": b"(S'" + touch.encode() + b"'\nios\nsystem\n.",
        "stack name": b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x09" + touch.encode()[:9] + b"\x85R.",
        "os.system as a class": b"\x80\x02cos\nsystem\n(S'x'\nt\x81.",
        "extension code": b"\x80\x02\x82\x01.",
        "deep key": b"}" + deep + b"Ns.",
        "memo that is not there": b"\x80\x02j\xff\xff\xff\xff.",
        "call of a text": b"S'os.system'\n(S'x'\ntR.",
        "long text": b"\x8d" + struct.pack("<Q", 1 << 60) + b"x",
        "list as a key": b"}]Ns.",
        "stack that is empty": b"0" * 10 + b".",
        "mark that is missing": b"t.",
        "endless text": b"S'" + b"x" * 1000,
    }


def foreign_module_file(path: Path, *, legacy: bool = False) -> dict[str, Any]:
    """Save a network as live objects of classes that no reader can import; return its state dict."""
    import torch
    from torch import nn

    module = types.ModuleType("somebody.nn.tasks")

    class DetectionModel(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), nn.SiLU())
            self.names = {0: "cat", 1: "dog"}
            self.args = types.SimpleNamespace(imgsz=320)
            self.register_buffer("stride", torch.tensor([8.0, 16.0]))
            self.register_buffer("forgotten", torch.ones(2), persistent=False)

    DetectionModel.__module__, DetectionModel.__qualname__ = module.__name__, "DetectionModel"
    module.DetectionModel = DetectionModel  # type: ignore[attr-defined]
    sys.modules.update({"somebody": types.ModuleType("somebody"), "somebody.nn": types.ModuleType("somebody.nn")})
    sys.modules[module.__name__] = module
    try:
        torch.manual_seed(0)
        model = DetectionModel().half()
        content = {"epoch": -1, "ema": None, "model": model, "optimizer": None, "license": "AGPL-3.0 (a page)"}
        torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    finally:
        for name in ("somebody", "somebody.nn", module.__name__):
            sys.modules.pop(name, None)
    return dict(model.state_dict())


def ran(folder: Path) -> bool:
    """Whether one of the programs did what it tried."""
    return (folder / PROOF).exists() or Path(PROOF).exists()
