"""docs/backbones.md says what there is and what it costs."""

from __future__ import annotations

import json
import re

import pytest

from tests.docs.pages import REPOSITORY

torch = pytest.importorskip("torch", reason="backbones are of the train extra")

PAGE = (REPOSITORY / "docs" / "backbones.md").read_text(encoding="utf-8")
RESULTS = REPOSITORY / "benchmarks" / "results"
# One of each library and of our own; counting all again takes half a minute.
COUNTED_AGAIN = {"mobilenetv2", "shufflenetv2", "mobileformer", "shufflenetv1", "squeezenet"}


def rows_of(pattern: str) -> list[list[str]]:
    return [row.split(" | ") for row in re.findall(rf"^\| ({pattern}.*) \|$", PAGE, re.MULTILINE)]


def test_every_named_backbone_is_there_with_its_variants():
    from ghostyolo.models.backbones.libraries import SIZES, SQUEEZENETS
    from ghostyolo.models.backbones.mobileformer import VARIANTS
    from ghostyolo.models.registry import describe_part

    tables = {name: set(sizes.names) for name, sizes in SIZES.items()}
    tables |= {"mobileformer": set(VARIANTS), "squeezenet": set(SQUEEZENETS)}
    written = {}
    for cells in rows_of("`"):
        for name in re.findall(r"`(\w+)`", cells[0]):
            params = describe_part("backbone", name)["params"]
            assert set(re.findall(r"`(\w+)`", cells[2])) <= {*params, "width"}
            written[name] = set(re.findall(r"[\w.]+", cells[2].partition(":")[2].replace("deeper too", "")))
    for name, variants in tables.items():
        assert written[name] == variants, name


def test_the_table_is_the_results_and_they_are_what_is_counted():
    from ghostyolo.models.count import count_macs, count_parameters
    from ghostyolo.models.registry import build_part, describe_part
    from ghostyolo.nn.reparam import fold

    results = {
        (row["backbone"], row["scale"]): row for row in json.loads((RESULTS / "backbones.json").read_text())["rows"]
    }
    table = rows_of(r"[a-z]\w+ \| (?:all|[pnsmlx ]+) ")
    assert {cells[0] for cells in table} == {name for name, _ in results}
    for name, scale, _, channels, params, macs in table:
        row = results[name, scale]
        assert (channels, params, macs) == (row["channels"], f"{row['params_m']:.2f}", f"{row['macs_g']:.2f}")
        if name not in COUNTED_AGAIN:
            continue
        scales = describe_part("backbone", name)["scales"]
        with torch.device("meta"):
            backbone = build_part("backbone", name, scales.get(scale.split()[0], {}), {"in_channels": 3}).eval()
            folded = fold(backbone)
        assert channels == ", ".join(map(str, backbone.channels))
        assert count_parameters(folded) / 1e6 == pytest.approx(float(params), abs=0.006)
        assert count_macs(folded, 640) / 1e9 == pytest.approx(float(macs), abs=0.006)


def test_the_written_classifiers_have_the_figures_of_the_page():
    from ghostyolo.models.backbones.mobileformer import MobileFormerClassifier
    from ghostyolo.models.backbones.mobilenext import MobileNeXtClassifier
    from ghostyolo.models.backbones.shufflenetv1 import ShuffleNetV1Classifier
    from ghostyolo.models.count import count_macs, count_parameters

    builders = {
        "MobileNeXt 1.0": lambda: MobileNeXtClassifier(1.0),
        "MobileNeXt 1.4": lambda: MobileNeXtClassifier(1.4),
        "ShuffleNet 1x, 3 groups": lambda: ShuffleNetV1Classifier(1.0, 3),
        "ShuffleNet 1x, 8 groups": lambda: ShuffleNetV1Classifier(1.0, 8),
        "Mobile-Former-96M": lambda: MobileFormerClassifier("96m"),
        "Mobile-Former-294M": lambda: MobileFormerClassifier("294m"),
        "Mobile-Former-508M": lambda: MobileFormerClassifier("508m"),
    }
    table = {cells[0]: cells[1:] for cells in rows_of("(?:Mobile|ShuffleNet 1x)") if cells[0] in builders}
    assert set(table) == set(builders)
    for name, (macs, _, params, *_) in table.items():
        with torch.device("meta"):
            network = builders[name]()
        assert count_macs(network, 224) / 1e6 == pytest.approx(float(macs), abs=0.51)
        assert count_parameters(network) / 1e6 == pytest.approx(float(params), abs=0.006)


def test_the_counts_of_timm_s_networks_are_the_results():
    results = json.loads((RESULTS / "timm_features.json").read_text())
    assert f"Of timm's {results['networks']} networks, {results['chains']} are such chains" in PAGE
    assert f"({results['machine']['packages']['timm']})" in PAGE
    assert f"gives other maps in {results['differing']} of the {results['compared']}" in PAGE
    names = [row["name"] for row in results["rows"]]
    for family, pattern in (("GhostNet V1, V2, V3", "ghostnet"), ("RepGhostNet", "repghost"), ("FastViT", "fastvit"),
                            ("Xception 41, 65, 71", "xception")):  # fmt: skip
        assert f"{family} ({sum(name.startswith(pattern) for name in names)})" in PAGE
    rest = [name for name in names if not name.startswith(("ghostnet", "repghost", "fastvit", "xception"))]
    assert f"and others ({len(rest)})" in PAGE
    assert all(row["strides"] == [32] for row in results["rows"] if row["name"] in rest)
