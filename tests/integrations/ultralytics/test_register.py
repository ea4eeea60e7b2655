"""Registering: what is imported, what is found, what is refused, what is taken back."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from ghostyolo import extras
from ghostyolo.errors import MissingExtraError
from ghostyolo.integrations.ultralytics import layer, model_files, register, unregister
from tests.integrations.ultralytics.builders import network


def test_importing_the_integration_imports_neither_torch_nor_the_package():
    code = (
        "import sys, ghostyolo.integrations.ultralytics as i; i.model_files(); "
        "print({'torch', 'ultralytics', 'cv2'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_register_without_the_package_gives_the_line_to_type(monkeypatch):
    unregister()
    monkeypatch.setitem(extras._PROBES, "ultralytics", ("a_package_that_is_absent",))
    with pytest.raises(MissingExtraError) as caught:
        register()
    assert str(caught.value) == f'register() needs the "ultralytics" extra: {extras.install_command("ultralytics")}'


def test_registering_twice_is_registering_once_and_unregister_takes_all_back(tasks):
    unregister()
    originals = tasks.parse_model, tasks.check_yaml, tasks.BaseModel.fuse
    register()
    wrapped = tasks.parse_model, tasks.check_yaml, tasks.BaseModel.fuse
    register()
    assert (tasks.parse_model, tasks.check_yaml, tasks.BaseModel.fuse) == wrapped
    assert not set(wrapped) & set(originals)
    unregister()
    assert (tasks.parse_model, tasks.check_yaml, tasks.BaseModel.fuse) == originals
    unregister()
    register()


def test_an_unfit_version_is_refused_with_the_tested_range(package, tasks, monkeypatch):
    unregister()
    monkeypatch.setattr(package, "__version__", "8.3.253")
    with pytest.raises(MissingExtraError, match=rf"8\.3\.253 .*too old.*{layer.OLDEST} to {layer.NEWEST_TESTED}: pip"):
        register()
    monkeypatch.setattr(package, "__version__", "9.0.0")
    monkeypatch.delattr(tasks, "Index")
    with pytest.raises(MissingExtraError, match="has no Index"):
        register()
    assert not hasattr(tasks.parse_model, "__wrapped__")


def test_models_of_the_package_are_built_as_before(package, tasks):
    unregister()
    torch.manual_seed(0)
    before = package.YOLO("yolo11n.yaml", verbose=False).model
    register()
    torch.manual_seed(0)
    after = package.YOLO("yolo11n.yaml", verbose=False).model
    for (name, one), (same_name, other) in zip(before.named_parameters(), after.named_parameters(), strict=True):
        assert name == same_name
        assert torch.equal(one, other)


def test_names_are_found_from_any_folder_but_a_file_there_comes_first(package, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert network(package, "yolo11-ghostnetv3.yaml").yaml["backbone"][0][2] == "ghostyolo.Backbone"
    text = model_files()["yolo11-ghostnetv3.yaml"].read_text().replace("nc: 80", "nc: 7")
    (tmp_path / "yolo11-ghostnetv3.yaml").write_text(text)
    assert network(package, "yolo11-ghostnetv3.yaml").yaml["nc"] == 7
