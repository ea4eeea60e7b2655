"""The weights that their makers publish, by name. No torch.

A checksum stands here where independent public sources agree on it. Where none is known, the file's own is said, and
written into the checkpoint (``derived_from``); what is fetched must then still fit the network layer by layer.
"""

from __future__ import annotations

from dataclasses import dataclass

_YOLOX = "https://github.com/Megvii-BaseDetection/YOLOX/releases/download/0.1.1rc0"
_YOLOV5 = "https://github.com/ultralytics/yolov5/releases/download/v7.0"
_YOLOV8 = "https://github.com/ultralytics/assets/releases/download/v8.3.0"
_YOLOV13 = "https://github.com/iMoonLab/yolov13/releases/download/yolov13"
_YOLOV7_TINY = "https://github.com/WongKinYiu/yolov7/releases/download/v0.1/yolov7-tiny.pt"
_TIMM = "https://huggingface.co/timm"


@dataclass(frozen=True)
class Release:
    """A published file.

    Attributes:
        url: of the file.
        licence: that its makers give it under.
        sha256: of the file; empty: not known.
    """

    url: str
    licence: str
    sha256: str = ""


_YOLOX_SUMS = {
    "nano": "cd28f55fbbc1829f99d9ac9b38a16d259a22889739c8728ea877610201feff7b",
    "tiny": "9de513de589ac98bb92d3bca53b5af7b9acfa9b0bacb831f7999d0f7afaee8f0",
    "s": "f55ded7181e1b0c13285c56e7790b8f0e8f8db590fe4edb37f0b7f345c913a30",
    "m": "60076992b32da82951c90cfa7bd6ab70eba9eda243e08b940a396f60ac2d19b6",
    "l": "1e6b7fa6240375370b2a8a8eab9066b3cdd43fd1d0bfa8d2027fd3a51def2917",
    "x": "5652330b6ae860043f091b8f550a60c10e1129f416edfdb65c259be6caf355cf",
}
RELEASES: dict[str, Release] = {
    **{
        f"yolox-{size}": Release(f"{_YOLOX}/yolox_{size}.pth", "Apache-2.0", sha256)
        for size, sha256 in _YOLOX_SUMS.items()
    },
    **{f"yolov5{size}": Release(f"{_YOLOV5}/yolov5{size}.pt", "AGPL-3.0") for size in "nsmlx"},
    "yolov7-tiny": Release(_YOLOV7_TINY, "GPL-3.0"),
    **{f"yolov8{size}": Release(f"{_YOLOV8}/yolov8{size}.pt", "AGPL-3.0") for size in "nsmlx"},
    **{f"yolov13{size}": Release(f"{_YOLOV13}/yolov13{size}.pt", "AGPL-3.0") for size in "nslx"},
    **{
        f"ghostnet{name}": Release(f"{_TIMM}/ghostnet{name}.in1k/resolve/main/model.safetensors", "Apache-2.0")
        for name in ("_100", "v2_100", "v2_130", "v2_160", "v3_100")
    },
}
