"""Write the stored answers of the published networks, each given by a published implementation of it.

    PYTHONPATH=. python -m tests.models.golden.make [NAME ...]

A network of ours is filled by name (:mod:`tests.models.filled`), its weights are copied into the other implementation
under its own names, and that one's outputs are stored in ``NAME.json``, after ours were found equal, with a digest of
its names and shapes. Needs beside the dev extra, in an
environment of its own: ``pip install pixeltable-yolox loguru sas-yolov7`` (Apache-2.0, MIT, GPL-3.0), for YOLOv13 the
authors' vectors at GHOSTYOLO_GOLDEN. Nothing of them is kept but the numbers.
"""

from __future__ import annotations

import json
import re
import sys
import tempfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from ghostyolo.models.backbones.pretrained import from_timm
from tests.integrations.published.builders import family_of, names_digest, their_tensors
from tests.models.filled import digest, picture
from tests.models.networks import filled_network, outputs

HERE = Path(__file__).parent
Outputs = dict[str, Tensor]
Reference = tuple[str, Outputs, str | None]  # what gave the outputs; a digest of its names


def take(theirs: nn.Module, ours: nn.Module, skip: tuple[str, ...] = ()) -> str:
    """Copy our weights into theirs under the published names, each tensor of both met; return their names' digest.

    Args:
        skip: beginnings of names of theirs that are not in our network.
    """
    family = family_of(ours)
    tensors = their_tensors(ours)
    state = {
        name: tensor
        for name, tensor in theirs.state_dict().items()
        if not name.endswith(family.unused) and not name.startswith(skip or ("-",))
    }
    known = {name for name in tensors if name != family.anchors and not (skip and name.startswith(skip))}
    assert set(state) == known, sorted(set(state) ^ known)[:5]
    for name, tensor in state.items():
        tensor.copy_(tensors[name])
    return names_digest(tensors, family)


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


def of_ultralytics(file: str, levels: tuple[int, ...], head: bool) -> Callable:
    def run(ours: nn.Module, image: Tensor) -> Reference:
        from ultralytics.nn.tasks import DetectionModel

        theirs = DetectionModel(file, nc=80, verbose=False).double().eval()
        names_of_theirs = take(theirs, ours, () if head else (f"model.{len(theirs.model) - 1}.",))
        names = {"stride8": 4, "stride16": 6, "stride32": 9}
        names |= dict(zip(("level3", "level4", "level5"), levels, strict=True))
        maps = layers_of(theirs, image, {name: theirs.model[index] for name, index in names.items()})
        result = maps.pop("result")[0].transpose(1, 2)
        if head:
            maps |= {"boxes": corners(result[..., :4]), "scores": result[..., 4:]}
        package = f"ultralytics-opencv-headless {version('ultralytics-opencv-headless')}, {file}"
        return package, maps, names_of_theirs

    return run


def of_yolox(depth: float, width: float, depthwise: bool) -> Callable:
    def run(ours: nn.Module, image: Tensor) -> Reference:
        from yolox.models.yolo_head import YoloxHead
        from yolox.models.yolo_pafpn import YoloPafpn

        theirs = nn.Module()
        theirs.backbone = neck = YoloPafpn(depth, width, depthwise=depthwise)
        theirs.head = head = YoloxHead(80, width, depthwise=depthwise)
        for module in theirs.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eps = 1e-3  # set by their experiments, not by their modules
        theirs.double().eval()
        names_of_theirs = take(theirs, ours)
        backbone = neck.backbone
        stages = {"stride8": backbone.dark3, "stride16": backbone.dark4, "stride32": backbone.dark5}
        maps = layers_of(neck, image.flip(1) * 255, stages)
        levels = maps.pop("result")
        with torch.no_grad():
            result = head(list(levels))
        maps |= dict(zip(("level3", "level4", "level5"), levels, strict=True))
        maps |= {"boxes": corners(result[..., :4]), "scores": result[..., 4:5] * result[..., 5:]}
        return f"pixeltable-yolox {version('pixeltable-yolox')}", maps, names_of_theirs

    return run


def of_yolov7_tiny(ours: nn.Module, image: Tensor) -> Reference:
    import sas_yolov7
    from sas_yolov7.models.yolo import Model

    theirs = Model(str(Path(sas_yolov7.__file__).parent / "cfg" / "deploy" / "yolov7-tiny.yaml")).double().eval()
    names_of_theirs = take(theirs, ours)
    places = {"stride8": 14, "stride16": 21, "stride32": 28, "level3": 74, "level4": 75, "level5": 76}
    maps = layers_of(theirs, image, {name: theirs.model[index] for name, index in places.items()})
    result = maps.pop("result")[0]
    maps |= {"boxes": corners(result[..., :4]), "scores": result[..., 4:5] * result[..., 5:]}
    return f"sas-yolov7 {version('sas-yolov7')}, cfg/deploy/yolov7-tiny.yaml", maps, names_of_theirs


def of_timm(name: str) -> Callable:
    def run(ours: nn.Module, image: Tensor) -> Reference:
        import timm

        theirs = timm.create_model(name).double().eval()
        state = {key: value for key, value in theirs.state_dict().items() if not key.endswith("num_batches_tracked")}
        tensors = ours.state_dict()
        for ours_name, theirs_name in from_timm({key: key for key in state}, "timm").items():
            state[theirs_name].copy_(tensors[ours_name])
        return f"timm {version('timm')}, {name}", {"logits": layers_of(theirs, image, {})["result"]}, None

    return run


def of_authors_yolov13(ours: nn.Module, image: Tensor) -> Reference:
    """Our network, once it gives the authors' outputs with the authors' weights."""
    from tests.models.test_yolov13 import GOLDEN, WEIGHTS, check_authors_vectors, load_authors

    with tempfile.TemporaryDirectory() as folder:
        check_authors_vectors(*load_authors(Path(folder)))
    names = names_digest(load_file(GOLDEN / WEIGHTS), family_of(ours))
    return "ours, equal to the authors' vectors on their published weights", outputs(ours, image), names


REFERENCES = {
    "yolov13n": of_authors_yolov13,
    "yolov8n": of_ultralytics("yolov8n.yaml", (15, 18, 21), head=True),
    "yolov5n": of_ultralytics("yolov5n.yaml", (17, 20, 23), head=False),
    "yolov7-tiny": of_yolov7_tiny,
    "yolox-nano": of_yolox(0.33, 0.25, True),
    "yolox-tiny": of_yolox(0.33, 0.375, False),
    **{name: of_timm(name) for name in ("ghostnet_100", "ghostnetv2_100", "ghostnetv3_100")},
}


def main(names: list[str]) -> None:
    for name in names or REFERENCES:
        ours = filled_network(name)
        reference, theirs, names = REFERENCES[name](ours, picture())
        mine = outputs(ours, picture())
        for key, tensor in theirs.items():
            torch.testing.assert_close(mine[key], tensor, rtol=1e-9, atol=1e-9 * float(tensor.abs().max()))
        answer = {"reference": reference, "names": names}
        answer["tensors"] = {key: digest(tensor) for key, tensor in theirs.items()}
        text = json.dumps(answer, indent=1)
        text = re.sub(r"\[[^][]*\]", lambda match: " ".join(match[0].split()), text)
        (HERE / f"{name}.json").write_text(text + "\n", encoding="utf-8")
        print(name, reference)


if __name__ == "__main__":
    main(sys.argv[1:])
