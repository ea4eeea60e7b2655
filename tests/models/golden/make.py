"""Write the stored answers of the published networks, each given by a published implementation of it.

    PYTHONPATH=. python -m tests.models.golden.make [NAME ...]

A network of ours is filled by name (:mod:`tests.models.filled`), its weights are copied into the other implementation,
and that one's outputs are stored in ``NAME.json``, after ours were found equal. Needs beside the dev extra, in an
environment of its own: ``pip install pixeltable-yolox loguru sas-yolov7`` (Apache-2.0, MIT, GPL-3.0), for YOLOv13 the
authors' vectors at GHOSTYOLO_GOLDEN. Nothing of them is kept but the numbers.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Collection
from importlib.metadata import version
from pathlib import Path

import torch
from torch import Tensor, nn

from ghostyolo.models.backbones.pretrained import from_timm
from tests.models.filled import digest, picture
from tests.models.networks import filled_network, outputs

HERE = Path(__file__).parent
Outputs = dict[str, Tensor]


def ultralytics_names(layers: dict[str, str], names: Collection[str]) -> Callable[[str], str]:
    """From one of the names of ultralytics, ``model.<layer>...``, to ours."""

    def translate(name: str) -> str:
        layer = next(layer for layer in sorted(layers, key=len, reverse=True) if name.startswith(f"model.{layer}."))
        rest = name.removeprefix(f"model.{layer}.").replace("bn.", "norm.")
        c3 = f"model.{layer}.cv3.conv.weight" in names
        bottleneck = re.match(r"m\.(\d+)\.cv([12])\.(.*)", rest)
        if bottleneck:
            part = ("first", "second")[int(bottleneck[2]) - 1]
            rest = f"{'deep' if c3 else 'inner'}.{bottleneck[1]}.{part}.{bottleneck[3]}"
        elif re.match(r"cv\d\.[a-z]", rest):
            parts = ("enter_deep", "enter_skip", "exit") if c3 else ("enter", "exit")
            rest = parts[int(rest[2]) - 1] + rest[3:]
        return f"{layers[layer]}.{rest}"

    return translate


BACKBONE = {str(layer): f"backbone.to_stride8.{layer}" for layer in range(5)}
BACKBONE |= {"5": "backbone.to_stride16.0", "6": "backbone.to_stride16.1"}
BACKBONE |= {str(layer): f"backbone.to_stride32.{layer - 7}" for layer in (7, 8, 9)}
V8 = {"12": "neck.down4", "15": "neck.down3", "16": "neck.stride3", "18": "neck.up4", "19": "neck.stride4"}
V8 |= {"21": "neck.up5", "22.cv2": "head.box", "22.cv3": "head.cls"}
V5 = {"10": "neck.enter5", "13": "neck.down4", "14": "neck.enter4", "17": "neck.down3", "18": "neck.stride3"}
V5 |= {"20": "neck.up4", "21": "neck.stride4", "23": "neck.up5"}


def take(theirs: nn.Module, ours: nn.Module, translate: Callable[[str], str], skip: tuple[str, ...]) -> None:
    """Copy our weights into theirs; every tensor of both must be met, but for names that hold a word of ``skip``."""
    tensors, used = ours.state_dict(), set()
    for name, tensor in theirs.state_dict().items():
        if name.endswith("num_batches_tracked") or any(word in name for word in skip):
            continue
        used.add(translate(name))
        tensor.copy_(tensors[translate(name)])
    left = {name for name in tensors if not name.endswith("num_batches_tracked") and not name.startswith(skip)} - used
    assert not left, sorted(left)


def layers_of(model: nn.Module, image: Tensor, places: dict[str, nn.Module]) -> Outputs:
    """The outputs of some modules in one forward pass, and ``result``, what the whole gives."""
    maps: Outputs = {}
    for name, module in places.items():
        module.register_forward_hook(lambda module, inputs, output, name=name: maps.__setitem__(name, output.clone()))
    with torch.no_grad():
        maps["result"] = model(image)
    return maps


def corners(xywh: Tensor) -> Tensor:
    """Boxes of centre and size to corners, the coordinates last."""
    x, y, width, height = xywh.unbind(-1)
    return torch.stack((x - width / 2, y - height / 2, x + width / 2, y + height / 2), -1)


def of_ultralytics(file: str, layers: dict[str, str], levels: tuple[int, ...], head: bool) -> Callable:
    def run(ours: nn.Module, image: Tensor) -> tuple[str, Outputs]:
        from ultralytics.nn.tasks import DetectionModel

        theirs = DetectionModel(file, nc=80, verbose=False).double().eval()
        translate = ultralytics_names(BACKBONE | layers, theirs.state_dict())
        last = len(theirs.model) - 1
        take(theirs, ours, translate, (".dfl.",) if head else (f"model.{last}.", "head."))
        names = {"stride8": 4, "stride16": 6, "stride32": 9}
        names |= dict(zip(("level3", "level4", "level5"), levels, strict=True))
        maps = layers_of(theirs, image, {name: theirs.model[index] for name, index in names.items()})
        result = maps.pop("result")[0].transpose(1, 2)
        if head:
            maps |= {"boxes": corners(result[..., :4]), "scores": result[..., 4:]}
        return f"ultralytics-opencv-headless {version('ultralytics-opencv-headless')}, {file}", maps

    return run


def of_yolox(depth: float, width: float, depthwise: bool) -> Callable:
    words = {
        "backbone.stem.conv.": "backbone.to_stride8.0.",
        "backbone.dark2.": "backbone.to_stride8.1.",
        "backbone.dark3.": "backbone.to_stride8.3.",
        "backbone.dark4.": "backbone.to_stride16.0.",
        "backbone.dark5.": "backbone.to_stride32.0.",
        "lateral_conv0.": "neck.lateral5.",
        "reduce_conv1.": "neck.lateral4.",
        "bu_conv2.": "neck.stride3.",
        "bu_conv1.": "neck.stride4.",
        "C3_p4.": "neck.down4.",
        "C3_p3.": "neck.down3.",
        "C3_n3.": "neck.up4.",
        "C3_n4.": "neck.up5.",
    }
    head = {"stems": "stem", "cls_convs": "cls_tower", "reg_convs": "box_tower"}
    head |= {"cls_preds": "cls", "reg_preds": "box", "obj_preds": "obj"}

    def translate(name: str) -> str:
        part = name.split(".")[0]
        if part in head:
            ours = f"head.{head[part]}.{name.removeprefix(f'{part}.')}"
        else:
            theirs = next(word for word in words if name.startswith(word))
            ours = words[theirs] + name.removeprefix(theirs)
            dark = re.match(r"(backbone\.to_stride\d+)\.(\d)\.(\d)\.(.*)", ours)
            if dark:  # ours hold all stages of a stride in one Sequential
                ours = f"{dark[1]}.{int(dark[2]) + int(dark[3])}.{dark[4]}"
            if name.startswith("backbone.dark5.1."):  # their pool pyramid
                return ours.replace("conv1.", "enter.").replace("conv2.", "exit.").replace("bn.", "norm.")
        ours = re.sub(r"\.m\.(\d+)\.conv1\.", r".deep.\1.first.", ours)
        ours = re.sub(r"\.m\.(\d+)\.conv2\.", r".deep.\1.second.", ours)
        for theirs, words_of_ours in {"conv1": "enter_deep", "conv2": "enter_skip", "conv3": "exit"}.items():
            ours = ours.replace(f".{theirs}.", f".{words_of_ours}.")
        return ours.replace("dconv.", "0.").replace("pconv.", "1.").replace("bn.", "norm.")

    def run(ours: nn.Module, image: Tensor) -> tuple[str, Outputs]:
        from yolox.models.yolo_head import YoloxHead
        from yolox.models.yolo_pafpn import YoloPafpn

        theirs = YoloPafpn(depth, width, depthwise=depthwise)
        head = YoloxHead(80, width, depthwise=depthwise)
        theirs.head = head
        for module in theirs.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eps = 1e-3  # set by their experiments, not by their modules
        theirs.double().eval()
        stem = ours.state_dict()["backbone.to_stride8.0.conv.weight"]
        # Their stem moves the pixels of a 2 x 2 square to channels, by row and column (0, 0), (1, 0), (0, 1), (1, 1).
        squares = [stem[:, :, dy::2, dx::2] for dx in (0, 1) for dy in (0, 1)]
        theirs.backbone.stem.conv.conv.weight.data.copy_(torch.cat(squares, 1))
        skip = ("backbone.stem.conv.conv.weight", "backbone.to_stride8.0.conv.weight")
        take(theirs, ours, lambda name: translate(name.removeprefix("head.")), skip)
        backbone = theirs.backbone
        stages = {"stride8": backbone.dark3, "stride16": backbone.dark4, "stride32": backbone.dark5}
        maps = layers_of(theirs, image, stages)
        levels = maps.pop("result")
        with torch.no_grad():
            result = head(list(levels))
        maps |= dict(zip(("level3", "level4", "level5"), levels, strict=True))
        maps |= {"boxes": corners(result[..., :4]), "scores": result[..., 4:5] * result[..., 5:]}
        return f"pixeltable-yolox {version('pixeltable-yolox')}", maps

    return run


def of_yolov7_tiny(ours: nn.Module, image: Tensor) -> tuple[str, Outputs]:
    import sas_yolov7
    from sas_yolov7.models.yolo import Model

    elans = {2: "backbone.to_stride8.2", 9: "backbone.to_stride8.4", 16: "backbone.to_stride16.1"}
    elans |= {23: "backbone.to_stride32.1", 42: "neck.down4", 52: "neck.down3", 60: "neck.up4", 68: "neck.up5"}
    layers = {0: "backbone.to_stride8.0", 1: "backbone.to_stride8.1", 29: "neck.pool5.enter_skip"}
    layers |= {30: "neck.pool5.enter_deep", 35: "neck.pool5.squeeze", 37: "neck.pool5.exit", 38: "neck.enter5"}
    layers |= {40: "neck.side4", 48: "neck.enter4", 50: "neck.side3", 58: "neck.stride3", 66: "neck.stride4"}
    layers |= {74: "neck.exits.0", 75: "neck.exits.1", 76: "neck.exits.2"}
    reversed_inputs = {35: 4, 37: 2}  # layer: parts of its input that they put together the other way round
    for first, ours_name in elans.items():
        for offset, part in ((0, "enter_skip"), (1, "enter_deep"), (2, "first"), (3, "second"), (5, "exit")):
            layers[first + offset] = f"{ours_name}.{part}"
        reversed_inputs[first + 5] = 4

    theirs = Model(str(Path(sas_yolov7.__file__).parent / "cfg" / "deploy" / "yolov7-tiny.yaml")).double().eval()

    def translate(name: str) -> str:
        match = re.match(r"model\.(\d+)\.(.*)", name)
        if int(match[1]) == 77:
            return match[2].replace("m.", "head.predict.").replace("anchors", "head.anchors")
        return f"{layers[int(match[1])]}.{match[2].replace('bn.', 'norm.')}"

    take(theirs, ours, translate, (".anchor", "head.anchors"))
    for layer, parts in reversed_inputs.items():
        weight = theirs.model[layer].conv.weight.data
        weight.copy_(torch.cat(weight.chunk(parts, 1)[::-1], 1))
    places = {"stride8": 14, "stride16": 21, "stride32": 28, "level3": 74, "level4": 75, "level5": 76}
    maps = layers_of(theirs, image, {name: theirs.model[index] for name, index in places.items()})
    result = maps.pop("result")[0]
    maps |= {"boxes": corners(result[..., :4]), "scores": result[..., 4:5] * result[..., 5:]}
    return f"sas-yolov7 {version('sas-yolov7')}, cfg/deploy/yolov7-tiny.yaml", maps


def of_timm(name: str) -> Callable:
    def run(ours: nn.Module, image: Tensor) -> tuple[str, Outputs]:
        import timm

        theirs = timm.create_model(name).double().eval()
        names = {key: key for key in theirs.state_dict() if not key.endswith("num_batches_tracked")}
        translated = {theirs_name: ours_name for ours_name, theirs_name in from_timm(names, "timm").items()}
        take(theirs, ours, translated.__getitem__, ())
        return f"timm {version('timm')}, {name}", {"logits": layers_of(theirs, image, {})["result"]}

    return run


def of_authors_yolov13(ours: nn.Module, image: Tensor) -> tuple[str, Outputs]:
    """Our network, once it gives the authors' outputs with the authors' weights."""
    from tests.models.test_yolov13 import check_authors_vectors, load_authors

    check_authors_vectors(*load_authors())
    return "ours, equal to the authors' vectors on their published weights", outputs(ours, image)


REFERENCES = {
    "yolov13n": of_authors_yolov13,
    "yolov8n": of_ultralytics("yolov8n.yaml", V8, (15, 18, 21), head=True),
    "yolov5n": of_ultralytics("yolov5n.yaml", V5, (17, 20, 23), head=False),
    "yolov7-tiny": of_yolov7_tiny,
    "yolox-nano": of_yolox(0.33, 0.25, True),
    "yolox-tiny": of_yolox(0.33, 0.375, False),
    **{name: of_timm(name) for name in ("ghostnet_100", "ghostnetv2_100", "ghostnetv3_100")},
}


def main(names: list[str]) -> None:
    for name in names or REFERENCES:
        ours = filled_network(name)
        reference, theirs = REFERENCES[name](ours, picture())
        mine = outputs(ours, picture())
        for key, tensor in theirs.items():
            torch.testing.assert_close(mine[key], tensor, rtol=1e-9, atol=1e-9 * float(tensor.abs().max()))
        answer = {"reference": reference, "tensors": {key: digest(tensor) for key, tensor in theirs.items()}}
        text = json.dumps(answer, indent=1)
        text = re.sub(r"\[[^][]*\]", lambda match: " ".join(match[0].split()), text)
        (HERE / f"{name}.json").write_text(text + "\n", encoding="utf-8")
        print(name, reference)


if __name__ == "__main__":
    main(sys.argv[1:])
