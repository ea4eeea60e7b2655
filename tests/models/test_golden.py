"""Networks give the stored answers of published implementations (golden/make.py), folded or not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ghostyolo.nn.reparam import fold, is_folded
from tests.integrations.published.builders import family_of, names_digest, their_tensors
from tests.models.filled import digest, picture
from tests.models.networks import filled_network, outputs

ANSWERS = sorted((Path(__file__).parent / "golden").glob("*.json"))


@pytest.mark.parametrize("path", ANSWERS, ids=lambda path: path.stem)
@pytest.mark.parametrize("folded", [False, True])
def test_a_network_gives_what_the_published_one_gives(path, folded):
    model = filled_network(path.stem)
    if folded:
        model = fold(model)
        assert is_folded(model)
    ours = {name: digest(tensor) for name, tensor in outputs(model, picture()).items()}
    for name, answer in json.loads(path.read_text(encoding="utf-8"))["tensors"].items():
        assert ours[name]["shape"] == answer["shape"], name
        # Both are in float64 and rounded to nine digits: a wrong epsilon already moves the fifth.
        near = {"rel": 0, "abs": 1e-7 * answer["largest"]}
        for kind in ("values", "sum", "largest"):
            assert ours[name][kind] == pytest.approx(answer[kind], **near), f"{name}: {kind}"


@pytest.mark.parametrize(
    "path", [path for path in ANSWERS if not path.stem.startswith("ghost")], ids=lambda path: path.stem
)
def test_the_names_that_are_imported_are_the_published_ones(path):
    model = filled_network(path.stem)
    names = json.loads(path.read_text(encoding="utf-8"))["names"]
    assert names_digest(their_tensors(model), family_of(model)) == names
