"""What ``--weights`` takes: a built-in name, a path, or an address on Hugging Face."""

from __future__ import annotations

import pytest

from ghostyolo.errors import WeightsError
from ghostyolo.runtime import weights
from ghostyolo.runtime.weights import resolve_weights


@pytest.fixture
def assets(tmp_path, monkeypatch):
    folder = tmp_path / "assets"
    folder.mkdir()
    for name in ("bccd.onnx", "bccd.safetensors", "digits.onnx", "readme.txt"):
        (folder / name).write_bytes(b"x")
    monkeypatch.setattr(weights, "assets_folder", lambda: folder)
    return folder


def test_builtin_name_is_its_onnx_file_unless_torch_weights_are_asked_for(assets):
    assert weights.builtin_names() == ["bccd", "digits"]
    assert resolve_weights("bccd") == assets / "bccd.onnx"
    assert resolve_weights("bccd", suffixes=(".safetensors",)) == assets / "bccd.safetensors"


def test_a_network_s_name_is_told_to_be_one(assets):
    with pytest.raises(WeightsError, match=r"'ghostyolo-n' is a network, .*train --model ghostyolo-n"):
        resolve_weights("ghostyolo-n")


def test_existing_path_is_itself(assets, tmp_path):
    path = tmp_path / "mine.onnx"
    path.write_bytes(b"x")
    assert resolve_weights(path) == path
    assert resolve_weights(str(path)) == path


def test_unknown_name_offers_the_nearest(assets):
    with pytest.raises(WeightsError, match=r"no weights named 'bcd'.*did you mean bccd\?"):
        resolve_weights("bcd")


def test_builtin_without_the_wanted_file_is_named(assets):
    with pytest.raises(WeightsError, match="no weights named 'digits'"):
        resolve_weights("digits", suffixes=(".safetensors",))


def test_missing_path_lists_the_names(assets, tmp_path):
    with pytest.raises(WeightsError, match=r"does not exist.*bccd, digits"):
        resolve_weights(tmp_path / "absent.onnx")


def test_folder_is_not_a_weights_file(assets, tmp_path):
    with pytest.raises(WeightsError, match="is a folder"):
        resolve_weights(tmp_path)


def test_pickle_is_refused_unopened(assets, tmp_path):
    with pytest.raises(WeightsError, match="is a pickle"):
        resolve_weights(tmp_path / "model.pt")
    with pytest.raises(WeightsError, match="is a pickle"):
        resolve_weights("hf://owner/repository/model.pth")


def test_incomplete_address_says_how_one_looks():
    for address in ("hf://owner/repository", "hf://", "hf://a//b"):
        with pytest.raises(WeightsError, match=r"hf://owner/repository/file.onnx"):
            resolve_weights(address)


def test_hub_address_is_fetched(monkeypatch, tmp_path):
    import huggingface_hub

    asked = []
    monkeypatch.setattr(
        huggingface_hub, "hf_hub_download", lambda *names: asked.append(names) or str(tmp_path / "f.onnx")
    )
    assert resolve_weights("hf://owner/repository/folder/f.onnx") == tmp_path / "f.onnx"
    assert asked == [("owner/repository", "folder/f.onnx")]


def test_offline_says_what_to_do(monkeypatch):
    import huggingface_hub
    from huggingface_hub.errors import LocalEntryNotFoundError

    for raised in (LocalEntryNotFoundError("offline"), ConnectionError("no route"), TimeoutError()):

        def fail(*names, raised=raised):
            raise raised

        monkeypatch.setattr(huggingface_hub, "hf_hub_download", fail)
        with pytest.raises(WeightsError, match=r"no network.*give its path") as error:
            resolve_weights("hf://owner/repository/f.onnx")
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["model.torchscript", "model.engine"])
def test_files_that_are_programs_are_not_fetched(name):
    with pytest.raises(WeightsError, match="is a program for"):
        resolve_weights(f"hf://owner/repository/{name}")
