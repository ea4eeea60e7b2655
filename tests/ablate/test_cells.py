"""Every cell is checked, and every folder looked into, before anything is trained."""

from __future__ import annotations

import json
import shutil

import pytest

from ghostyolo.ablate.cells import cell_record, is_finished, make_plan
from ghostyolo.ablate.grid import Grid
from ghostyolo.config import read_yaml
from ghostyolo.errors import ConfigError, DataError, GhostYoloError, TrainingError
from tests.docs.pages import REPOSITORY
from tests.train import tiny
from tests.train.class_pictures import write_folders

BASE = {"recipe": "cifar", "epochs": 1, "batch": 4, "device": "cpu", "threads": 1}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    return write_folders(tmp_path_factory.mktemp("classes") / "data", train=4, val=2)


@pytest.fixture
def plan(pictures, tmp_path):
    def make(**changes):
        values = {
            "data": str(pictures), "models": {"small": "ghostnetv3:width=0.25"}, "seeds": 2, "base": dict(BASE),
            "cells": {"CutMix": {"augment": {"cutmix": 1.0}}},
        }  # fmt: skip
        return make_plan(Grid.from_dict({**values, **changes}), tmp_path / "out")

    return make


def begin(run) -> None:
    run.folder.mkdir(parents=True)
    (run.folder / "cell.json").write_text(json.dumps(cell_record(run)))
    (run.folder / "config.yaml").write_text("recipe: {}\n")


def test_runs_go_through_all_cells_of_a_seed_before_the_next(plan) -> None:
    made = plan()
    assert [(run.cell, run.seed, run.setup.recipe.seed) for run in made.runs] == [
        ("base", 0, 0), ("CutMix", 0, 0), ("base", 1, 1), ("CutMix", 1, 1),
    ]  # fmt: skip
    assert made.runs[1].setup.recipe.augment.cutmix == 1
    assert made.runs[1].setup.recipe.augment.crop == "padded"  # of the recipe still
    assert made.runs[3].folder == made.out / "runs" / "small" / "CutMix" / "seed1"


def test_a_value_that_is_the_bases_is_not_trained_twice(plan) -> None:
    made = plan(cells={}, vary={"branches": [1, 3], "pointwise_branch": [False, True]})
    assert made.same == {("small", "branches=3"): "base", ("small", "pointwise_branch=True"): "base"}
    assert [run.cell for run in made.runs if run.seed == 0] == ["base", "branches=1", "pointwise_branch=False"]


def test_a_cell_may_have_another_network_for_one_model(plan) -> None:
    made = plan(
        models={"ghost": "ghostnetv2:width=0.25", "other": "ghostnetv1:width=0.25"},
        cells={"branches": {"branches": 2, "model": {"ghost": "ghostnetv3:width=0.25"}}},
        seeds=[7],
    )
    backbones = {(run.model, run.cell): run.setup.settings["network"]["backbone"] for run in made.runs}
    assert {key: part["type"] for key, part in backbones.items()} == {
        ("ghost", "base"): "ghostnetv2", ("ghost", "branches"): "ghostnetv3",
        ("other", "base"): "ghostnetv1", ("other", "branches"): "ghostnetv1",
    }  # fmt: skip
    assert backbones["ghost", "branches"]["params"]["branches"] == 2


def test_a_teacher_of_the_grid_is_one_run_that_its_cells_wait_for(plan) -> None:
    teacher = {"model": "ghostnetv1:width=0.25", **BASE}
    made = plan(
        cells={
            "taught": {"teacher": "big", "alpha": 0.5, "teacher_cache": "logits"},
            "more": {"tau": 4, "teacher": "big"},
        },
        teachers={"big": teacher, "idle": teacher},
    )
    assert set(made.teachers) == {"big"}
    assert made.teachers["big"].folder == made.out / "teachers" / "big"
    taught = [run for run in made.runs if run.teacher == "big"]
    assert len(taught) == 4
    assert taught[0].setup.recipe.teacher == str(made.out / "teachers" / "big" / "last.safetensors")
    assert len({run.setup.recipe.teacher_cache for run in taught if run.cell == "taught"}) == 2  # one for each seed
    assert taught[0].setup.settings["teacher"] == taught[2].setup.settings["teacher"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cells": {"a": {"alphe": 0.5}}}, "cell 'a' of small: unknown key 'alphe': did you mean alpha"),
        ({"cells": {"a": {"augment": {"cutmi": 1}}}}, "unknown key 'augment.cutmi': did you mean cutmix"),
        ({"cells": {"a": {"alpha": 2.0, "teacher": "x"}}}, "'alpha' is 2.0"),
        ({"cells": {"a": {"alpha": 0.5}}}, "'alpha' changes nothing without a teacher"),
        ({"cells": {"a": {"seed": 1}}}, "seeds are given once"),
        ({"cells": {"a": {"optimizer": "adamm"}}}, "unknown optimizer 'adamm'"),
        ({"cells": {"a": {"model": "ghostnetv9"}}}, "unknown model 'ghostnetv9'"),
        ({"cells": {"a": {"model": {"large": "ghostnetv1"}}}}, "names no model 'large' of this grid"),
        ({"cells": {"a": {"recipe": "cifr"}}}, "unknown recipe 'cifr': did you mean cifar"),
        ({"cells": {"a": {"channels": "3"}}}, "'channels' is '3': input should be a valid integer"),
        ({"cells": {"a": {"branches": 3}}}, "changes nothing: it is the same as 'base'"),
        ({"cells": {"a": {"teacher": "bigg"}}, "teachers": {"big": {"model": "ghostnetv1"}}}, "of this grid: big"),
        ({"teachers": {"big": {"epochs": 1}}}, "teacher 'big': which network"),
        ({"teachers": {"big": {"model": "ghostnetv1", "teacher": "x"}}}, "no teacher of its own"),
        ({"models": {"a b": "ghostnetv1", "a-b": "ghostnetv1"}, "cells": {"c": {"lr": 0.5}}}, "would share one folder"),
    ],
)  # fmt: skip
def test_what_is_wrong_in_any_cell_is_said_first(plan, changes, message) -> None:
    with pytest.raises(ConfigError) as caught:
        plan(**changes)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_data_that_cannot_be_compared_on_is_refused(plan, tmp_path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        plan(data=str(tmp_path / "none"))
    with pytest.raises(DataError, match="one class only"):
        plan(data=str(write_folders(tmp_path / "one", names=("red",))))
    with pytest.raises(DataError, match="no validation pictures"):
        plan(data=str(write_folders(tmp_path / "flat", val=0)), base={**BASE, "val_share": 0.0})


def test_finished_runs_are_known_by_all_that_decides_their_result(plan) -> None:
    run = plan().runs[1]
    begin(run)
    (run.folder / "metrics.json").write_text("{}")
    made = plan(base={**BASE, "workers": 3, "val_batch": 7})  # where and how fast, not what
    assert is_finished(made.runs[1], made.kind)
    with pytest.raises(TrainingError, match=r"another 'recipe.epochs' \(1 there, 2 here\)"):
        plan(base={**BASE, "epochs": 2})
    with pytest.raises(TrainingError, match=r"another 'recipe.augment.cutmix'"):
        plan(cells={"CutMix": {"augment.cutmix": 0.5}})
    with pytest.raises(TrainingError, match=r"another 'network.backbone.type'"):
        plan(models={"small": "ghostnetv1:width=0.25"})


def test_other_pictures_are_another_grid(plan, pictures, tmp_path) -> None:
    begin(plan().runs[0])
    shutil.copytree(pictures, tmp_path / "less")
    (tmp_path / "less" / "val" / "red" / "0.png").unlink()
    with pytest.raises(TrainingError, match=r"another 'data.val.pictures' \(6 there, 5 here\)"):
        plan(data=str(tmp_path / "less"))


def test_settings_of_an_older_version_get_the_defaults_of_keys_that_came_since(plan) -> None:
    run = plan().runs[0]
    begin(run)
    record = cell_record(run)
    del record["settings"]["recipe"]["sync_batchnorm"]
    del record["settings"]["network"]["backbone"]["params"]["pointwise_branch"]
    (run.folder / "cell.json").write_text(json.dumps(record))
    plan()


def test_folders_of_something_else_are_refused(plan, tmp_path) -> None:
    run = plan().runs[0]
    begin(run)
    with pytest.raises(TrainingError, match="holds another grid"):
        plan(models={"other": "ghostnetv1:width=0.25"})
    (run.folder / "cell.json").write_text("{")
    with pytest.raises(TrainingError, match="is damaged"):
        plan()
    (run.folder / "cell.json").unlink()
    with pytest.raises(TrainingError, match="holds a run that no grid started"):
        plan()


def test_detectors(tmp_path) -> None:
    data = tiny.write_yolo(tiny.squares(tmp_path / "data"))
    values = {
        "task": "detection", "data": str(data), "models": {"tiny": "yolov8p-ghostnetv3"}, "seeds": 1,
        "base": {"epochs": 1, "imgsz": 64, "branches": 1, "augment.mixup": 0.5}, "cells": {"three": {"branches": 3}},
    }  # fmt: skip
    made = make_plan(Grid.from_dict(values), tmp_path / "out")
    base, three = made.runs
    assert base.setup.settings["network"]["backbone"]["params"]["branches"] == 1
    assert three.setup.recipe.branches == 3
    assert base.setup.recipe.augment.mixup == 0.5
    assert base.setup.costs == three.setup.costs  # folded, they are one network
    assert base.setup.costs["macs_deployed"] > 0
    taught = {"teacher": {"teacher": "big", "distil": {"logits": 1.0, "features": 0.5}}}
    teachers = {"big": {"model": "yolov8p-ghostnetv3", "epochs": 1, "imgsz": 64, "branches": 2}}
    with_teacher = {**values, "cells": taught, "teachers": teachers}
    run = make_plan(Grid.from_dict(with_teacher), tmp_path / "taught").runs[1]
    assert run.setup.recipe.teacher == str(tmp_path / "taught" / "teachers" / "big" / "last.safetensors")
    begin(run)
    make_plan(Grid.from_dict(with_teacher), tmp_path / "taught")  # it is known again
    for cell, message in (
        ({"teacher": "none.safetensors"}, "none.safetensors"),
        ({"qat": True}, "fine-tuning for INT8 is no cell"),
        ({"branches": "3"}, "should be a valid integer"),
        ({"imgsz": 65}, "imgsz 65 is not a multiple of 32"),
    ):
        with pytest.raises(GhostYoloError, match=message):
            make_plan(Grid.from_dict({**values, "cells": {"a": cell}}), tmp_path / "out")


@pytest.mark.parametrize("path", sorted((REPOSITORY / "benchmarks" / "ablate").glob("*.yaml")), ids=lambda p: p.stem)
def test_the_grids_of_the_benchmarks_are_grids(path) -> None:
    """Their options are those of the command; networks and data are looked at when they are run."""
    from ghostyolo.ablate.cells import KINDS

    grid = Grid.from_dict({"data": "d", **read_yaml(path, "grid")})
    changes = grid.changes()
    kind = KINDS[grid.task](grid.data)
    for options in (grid.base, *changes.values(), *grid.teachers.values()):
        kind.resolve(options, path.name)
    # A teacher is one of the grid's own, all of which are used, or a built-in detector.
    named = {options["teacher"] for options in changes.values() if "teacher" in options}
    assert named - {"bccd", "neu-det"} == set(grid.teachers)
