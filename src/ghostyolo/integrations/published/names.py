"""What published networks call their parts, and what we call them.

A family has a table of layers, from their prefix to our module. Inside a module, the class of ours says what theirs are
called there. So one table of words serves all depths and widths.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import product

from torch import nn

from ghostyolo.nn.blocks import A2C2f, AreaAttention, AreaBlock, DSBottleneck, DSC3k, DSC3k2, DSConv
from ghostyolo.nn.csp import C3, Bottleneck, C2f, DenseBottleneck, Sppf
from ghostyolo.nn.hypergraph import C3AH, AdaptiveHyperedges, HyperAce, HypergraphConv
from ghostyolo.nn.reparam import ConvNorm

Words = Mapping[type[nn.Module], Mapping[str, str]]  # theirs by the class of ours: {their word: our word}

_TWO_ENTRIES = {"cv1": "enter_deep", "cv2": "enter_skip", "cv3": "exit", "m": "deep"}
_CHAIN = {"cv1": "enter", "cv2": "exit", "m": "inner"}
_BOTTLENECK = {"cv1": "first", "cv2": "second"}

ULTRALYTICS_WORDS: Words = {
    ConvNorm: {"bn": "norm"},
    C3: _TWO_ENTRIES,
    DSC3k: _TWO_ENTRIES,
    C2f: _CHAIN,
    DSC3k2: _CHAIN,
    A2C2f: {**_CHAIN, "gamma": "scale"},
    Sppf: {"cv1": "enter", "cv2": "exit"},
    Bottleneck: _BOTTLENECK,
    DenseBottleneck: _BOTTLENECK,
    DSBottleneck: _BOTTLENECK,
    DSConv: {"dw": "depthwise", "pw": "pointwise", "bn": "norm"},
    AreaBlock: {"attn": "attention"},
    AreaAttention: {"qk": "query_key", "v": "value", "pe": "position", "proj": "project"},
    C3AH: {**_TWO_ENTRIES, "m.hgnn": "hypergraph"},
    HypergraphConv: {"edge_generator": "participation", "edge_proj.0": "edge", "node_proj.0": "node"},
    AdaptiveHyperedges: {"context_net": "context", "pre_head_proj": "query", "prototype_base": "prototypes"},
    HyperAce: {
        "fuse.conv_out": "gather", "cv1": "enter", "cv2": "exit",
        "branch1": "global_first", "branch2": "global_second", "m": "local",
    },
}  # fmt: skip
YOLOX_WORDS: Words = {
    ConvNorm: {"bn": "norm"},
    C3: {"conv1": "enter_deep", "conv2": "enter_skip", "conv3": "exit", "m": "deep"},
    Bottleneck: {"conv1": "first", "conv2": "second"},
    Sppf: {"conv1": "enter", "conv2": "exit"},
    nn.Sequential: {"dconv": "0", "pconv": "1"},
}


def _numbered(*layers: Mapping[int, str] | Mapping[str, str]) -> dict[str, str]:
    """Layers as the graphs of ultralytics number them: ``model.<layer>``."""
    return {f"model.{layer}": place for table in layers for layer, place in table.items()}


def _three(theirs: str, ours: str) -> dict[str, str]:
    return {f"{theirs}.{level}": f"{ours}.{level}" for level in range(3)}


_TO_STRIDE_8 = {layer: f"backbone.to_stride8.{layer}" for layer in range(5)}
_BACKBONE = _TO_STRIDE_8 | {5: "backbone.to_stride16.0", 6: "backbone.to_stride16.1"}
_TO_STRIDE_32 = {layer: f"backbone.to_stride32.{layer - 7}" for layer in (7, 8, 9)}

YOLOV8 = _numbered(
    _BACKBONE | _TO_STRIDE_32,
    {"12": "neck.down4", "15": "neck.down3", "16": "neck.stride3", "18": "neck.up4", "19": "neck.stride4"}
    | {"21": "neck.up5"} | _three("22.cv2", "head.box") | _three("22.cv3", "head.cls"),
)  # fmt: skip
YOLOV5 = _numbered(
    _BACKBONE | _TO_STRIDE_32,
    {"10": "neck.enter5", "13": "neck.down4", "14": "neck.enter4", "17": "neck.down3", "18": "neck.stride3"}
    | {"20": "neck.up4", "21": "neck.stride4", "23": "neck.up5"} | _three("24.m", "head.predict"),
)  # fmt: skip
YOLOV13 = _numbered(
    _BACKBONE | {7: "backbone.to_stride32.0", 8: "backbone.to_stride32.1"},
    {"9": "neck.correlate", "11.channel_adjust": "neck.enhance5", "22": "neck.enhance3"}
    | {"17": "neck.down4", "21": "neck.down3", "24": "neck.stride3", "26": "neck.up4", "28": "neck.stride4"}
    | {"30": "neck.up5"}
    | {str(layer): f"neck.tunnels.{name}" for layer, name in {
        12: "in4", 13: "in3", 14: "in5", 18: "down4", 23: "out3", 27: "out4", 31: "out5"}.items()}
    | _three("32.cv2", "head.box")
    # Their class branch nests pairs of a depthwise and a pointwise convolution; ours is flat.
    | {f"32.cv3.{level}.{pair}.{part}": f"head.cls.{level}.{2 * pair + part}"
       for level, pair, part in product(range(3), range(2), range(2))}
    | {f"32.cv3.{level}.2": f"head.cls.{level}.4" for level in range(3)},
)  # fmt: skip


def _yolov7_tiny() -> dict[str, str]:
    elans = {2: "backbone.to_stride8.2", 9: "backbone.to_stride8.4", 16: "backbone.to_stride16.1"}
    elans |= {23: "backbone.to_stride32.1", 42: "neck.down4", 52: "neck.down3", 60: "neck.up4", 68: "neck.up5"}
    parts = {0: "enter_skip", 1: "enter_deep", 2: "first", 3: "second", 5: "exit"}
    inside = {first + step: f"{place}.{part}" for first, place in elans.items() for step, part in parts.items()}
    outside = {
        0: "backbone.to_stride8.0", 1: "backbone.to_stride8.1", 29: "neck.pool5.enter_skip",
        30: "neck.pool5.enter_deep", 35: "neck.pool5.squeeze", 37: "neck.pool5.exit", 38: "neck.enter5",
        40: "neck.side4", 48: "neck.enter4", 50: "neck.side3", 58: "neck.stride3", 66: "neck.stride4",
        74: "neck.exits.0", 75: "neck.exits.1", 76: "neck.exits.2",
    }  # fmt: skip
    head = {f"77.{theirs}.{level}": f"head.{ours}.{level}" for theirs, ours in
            (("m", "predict"), ("ia", "ia"), ("im", "im")) for level in range(3)}  # fmt: skip
    return _numbered(inside, outside, head)


YOLOV7_TINY = _yolov7_tiny()


def _yolox() -> dict[str, str]:
    body = {
        "backbone.stem.conv": "backbone.to_stride8.0",
        "backbone.dark2.0": "backbone.to_stride8.1", "backbone.dark2.1": "backbone.to_stride8.2",
        "backbone.dark3.0": "backbone.to_stride8.3", "backbone.dark3.1": "backbone.to_stride8.4",
        "backbone.dark4.0": "backbone.to_stride16.0", "backbone.dark4.1": "backbone.to_stride16.1",
        **{f"backbone.dark5.{number}": f"backbone.to_stride32.{number}" for number in range(3)},
        "lateral_conv0": "neck.lateral5", "C3_p4": "neck.down4", "reduce_conv1": "neck.lateral4",
        "C3_p3": "neck.down3", "bu_conv2": "neck.stride3", "C3_n3": "neck.up4", "bu_conv1": "neck.stride4",
        "C3_n4": "neck.up5",
    }  # fmt: skip
    head = {"stems": "stem", "cls_convs": "cls_tower", "reg_convs": "box_tower"}
    head |= {"cls_preds": "cls", "reg_preds": "box", "obj_preds": "obj"}
    layers = {f"backbone.{theirs}": ours for theirs, ours in body.items()}
    for theirs, ours in head.items():
        layers |= _three(f"head.{theirs}", f"head.{ours}")
    return layers


YOLOX = _yolox()


def translated(name: str, model: nn.Module, layers: Mapping[str, str], words: Words) -> str | None:
    """Return our name of a published tensor; None: no layer of the table.

    Args:
        model: ours.
        layers: from their prefixes to our modules; the longest that fits is taken.
        words: what theirs call the parts of a module, by our class.
    """
    prefix = next((prefix for prefix in _prefixes(name) if prefix in layers), None)
    if prefix is None:
        return None
    place, rest = layers[prefix], name.removeprefix(prefix).lstrip(".").split(".")
    while rest and rest != [""]:
        table = _words_of(_module(model, place), words)
        count = next((count for count in range(min(3, len(rest)), 0, -1) if ".".join(rest[:count]) in table), 1)
        word = ".".join(rest[:count])
        place, rest = f"{place}.{table.get(word, word)}", rest[count:]
    return place


def _prefixes(name: str) -> Iterator[str]:
    parts = name.split(".")
    return (".".join(parts[:count]) for count in range(len(parts), 0, -1))


def _module(model: nn.Module, place: str) -> nn.Module | None:
    try:
        return model.get_submodule(place)
    except AttributeError:
        return None  # a tensor, or a part that ours does not have


def _words_of(module: nn.Module | None, words: Words) -> Mapping[str, str]:
    return next((table for kind, table in words.items() if isinstance(module, kind)), {})
