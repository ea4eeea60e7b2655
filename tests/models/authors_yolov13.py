"""Translate the parameter names of the YOLOv13 authors' n graph (``model.<layer>...``) into ours."""

from __future__ import annotations

import re

LAYERS = {
    "0": "backbone.to_stride8.0",
    "1": "backbone.to_stride8.1",
    "2": "backbone.to_stride8.2",
    "3": "backbone.to_stride8.3",
    "4": "backbone.to_stride8.4",
    "5": "backbone.to_stride16.0",
    "6": "backbone.to_stride16.1",
    "7": "backbone.to_stride32.0",
    "8": "backbone.to_stride32.1",
    "9": "neck.correlate",
    "11.channel_adjust": "neck.enhance5",
    "12": "neck.tunnels.in4",
    "13": "neck.tunnels.in3",
    "14": "neck.tunnels.in5",
    "17": "neck.down4",
    "18": "neck.tunnels.down4",
    "21": "neck.down3",
    "22": "neck.enhance3",
    "23": "neck.tunnels.out3",
    "24": "neck.stride3",
    "26": "neck.up4",
    "27": "neck.tunnels.out4",
    "28": "neck.stride4",
    "30": "neck.up5",
    "31": "neck.tunnels.out5",
    "32.cv2": "head.box",
    "32.cv3": "head.cls",
}
BOTTLENECK_LAYERS = {"17", "21", "26", "30", "2", "4"}


def _layer(name: str) -> tuple[str, str]:
    for key in sorted(LAYERS, key=len, reverse=True):
        if name.startswith(f"model.{key}."):
            return key, name.removeprefix(f"model.{key}.")
    raise KeyError(name)


def _inside_dsconv(rest: str) -> str:
    return rest.replace("dw.weight", "depthwise.weight").replace("pw.weight", "pointwise.weight")


def _c3(rest: str) -> str:
    """Inside a C3 of DSBottlenecks: cv1 deep entry, cv2 skip entry, cv3 exit, m the bottlenecks."""
    rest = re.sub(r"^m\.(\d+)\.cv1\.", r"deep.\1.first.", rest)
    rest = re.sub(r"^m\.(\d+)\.cv2\.", r"deep.\1.second.", rest)
    rest = re.sub(r"^cv1\.", "enter_deep.", rest)
    rest = re.sub(r"^cv2\.", "enter_skip.", rest)
    return re.sub(r"^cv3\.", "exit.", rest)


def _c2f(rest: str, nested: bool) -> str:
    match = re.match(r"^m\.(\d+)\.(.*)$", rest)
    if match:
        inner = match[2]
        inner = _c3(inner) if nested else re.sub(r"^cv1\.", "first.", re.sub(r"^cv2\.", "second.", inner))
        return f"inner.{match[1]}.{inner}"
    return re.sub(r"^cv2\.", "exit.", re.sub(r"^cv1\.", "enter.", rest))


def _area(rest: str) -> str:
    for theirs, ours in {
        ".attn.qk.": ".attention.query_key.",
        ".attn.v.": ".attention.value.",
        ".attn.pe.": ".attention.position.",
        ".attn.proj.": ".attention.project.",
    }.items():
        rest = rest.replace(theirs, ours)
    return re.sub(r"^m\.", "inner.", re.sub(r"^cv2\.", "exit.", re.sub(r"^cv1\.", "enter.", rest)))


def _hyper(rest: str) -> str:
    branch = re.match(r"^branch([12])\.(.*)$", rest)
    if branch:
        inner = _c3(branch[2])
        for theirs, ours in {
            "m.hgnn.edge_generator.context_net.": "hypergraph.participation.context.",
            "m.hgnn.edge_generator.pre_head_proj.": "hypergraph.participation.query.",
            "m.hgnn.edge_generator.prototype_base": "hypergraph.participation.prototypes",
            "m.hgnn.edge_proj.0.": "hypergraph.edge.",
            "m.hgnn.node_proj.0.": "hypergraph.node.",
        }.items():
            inner = inner.replace(theirs, ours)
        return {"1": "global_first.", "2": "global_second."}[branch[1]] + inner
    local = re.match(r"^m\.(\d+)\.(.*)$", rest)
    if local:
        return f"local.{local[1]}.{_c3(local[2])}"
    rest = rest.replace("fuse.conv_out.", "gather.")
    return re.sub(r"^cv2\.", "exit.", re.sub(r"^cv1\.", "enter.", rest))


def _head(rest: str, cls: bool) -> str:
    if not cls:
        return rest
    # Their class branch nests (depthwise, pointwise) pairs; ours is flat.
    return re.sub(r"^(\d)\.([01])\.([01])\.", lambda m: f"{m[1]}.{2 * int(m[2]) + int(m[3])}.", re.sub(
        r"^(\d)\.2\.(weight|bias)", r"\1.4.\2", rest))  # fmt: skip


def translate(name: str) -> str | None:
    """Our name of their parameter, or None for the constant DFL weights, which we do not store."""
    if ".dfl." in name:
        return None
    layer, rest = _layer(name)
    if layer in ("6", "8"):
        rest = _area(rest)
    elif layer == "9":
        rest = _hyper(rest)
    elif layer in BOTTLENECK_LAYERS:
        rest = _c2f(rest, nested=int(layer) > 9)
    elif layer.startswith("32."):
        rest = _head(rest, layer.endswith("cv3"))
    return f"{LAYERS[layer]}.{_inside_dsconv(rest)}".replace("bn.", "norm.")
