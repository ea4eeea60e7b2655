"""The small parts of training: averaged weights, parameter groups, state, NaN guard, ranks, resume files."""

from __future__ import annotations

import csv
import json
import math
import pickle

import pytest
import torch
from torch import nn

from ghostyolo.errors import OutputError, TrainingError
from ghostyolo.train.detection.module import group_parameters, mix_seed
from ghostyolo.train.module import Ema
from ghostyolo.train.nan_guard import NanGuard
from ghostyolo.train.process import is_main_process
from ghostyolo.train.state import AtomicCheckpointIO, RunState
from tests.train import tiny


def test_average_moves_by_the_ramped_decay() -> None:
    model = nn.Linear(1, 1, bias=False)
    nn.init.constant_(model.weight, 0.0)
    ema = Ema(model, decay=0.9, ramp=2.0)
    ema.follow(model)
    expected = 0.0
    for update, value in enumerate((1.0, 2.0, 4.0), start=1):
        nn.init.constant_(model.weight, value)
        ema.update()
        decay = 0.9 * (1 - math.exp(-update / 2))
        expected = decay * expected + (1 - decay) * value
        assert ema.model.weight.item() == pytest.approx(expected)
    assert ema.updates == 3


def test_average_covers_running_statistics_and_copies_counters() -> None:
    model = nn.BatchNorm1d(2)
    ema = Ema(model, decay=0.0)
    ema.follow(model)
    model(torch.tensor([[0.0, 1.0], [2.0, 5.0]]))
    ema.update()
    torch.testing.assert_close(ema.model.running_mean, model.running_mean)
    assert ema.model.num_batches_tracked == 1
    assert not ema.model.training


def test_average_needs_no_gradient_and_leaves_the_network_alone() -> None:
    model = nn.Linear(2, 2)
    ema = Ema(model)
    assert not any(parameter.requires_grad for parameter in ema.model.parameters())
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_average_resumes_from_its_state() -> None:
    model = nn.Linear(2, 1)
    ema = Ema(model)
    ema.follow(model)
    ema.update()
    other = Ema(nn.Linear(2, 1))
    other.load_state_dict(ema.state_dict())
    assert other.updates == 1
    torch.testing.assert_close(other.model.weight, ema.model.weight)


def test_only_weights_of_two_or_more_dimensions_decay() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 2))
    model.register_parameter("scalar", nn.Parameter(torch.ones(())))
    model[2].weight.requires_grad_(False)
    groups = {group["name"]: group for group in group_parameters(model, 0.1)}
    assert {name: group["weight_decay"] for name, group in groups.items()} == {
        "weight": 0.1,
        "norm": 0.0,
        "bias": 0.0,
    }
    assert groups["weight"]["params"] == [model[0].weight]
    assert {id(p) for p in groups["norm"]["params"]} == {id(model[1].weight), id(model.scalar)}
    assert len(groups["bias"]["params"]) == 3


def finish(state: RunState, *scores: float | None) -> list[bool]:
    return [state.finish_epoch({"seconds": 1.0}, score, validated=True) for score in scores]


def test_best_is_the_first_epoch_of_the_highest_ap() -> None:
    state = RunState()
    assert finish(state, 0.1, 0.3, 0.3, 0.2) == [True, True, False, False]
    assert (state.best_epoch, state.best_score, state.epochs_done, state.seconds) == (2, 0.3, 4, 4.0)


def test_while_nothing_is_found_the_later_weights_are_kept() -> None:
    state = RunState()
    assert finish(state, 0.0, None, 0.0) == [True, True, True]
    assert state.best_epoch == 1


def test_patience_counts_epochs_since_the_best() -> None:
    state = RunState()
    finish(state, 0.1, 0.3, 0.2)
    assert not state.out_of_patience(2)
    finish(state, 0.2)
    assert state.out_of_patience(2)
    assert not state.out_of_patience(0)
    assert not RunState().out_of_patience(1)


def test_epochs_without_validation_do_not_become_the_best() -> None:
    state = RunState()
    assert state.finish_epoch({"seconds": 1.0}, None, validated=False) is False
    assert state.best_epoch == 0


def test_state_survives_its_own_dict() -> None:
    state = RunState()
    finish(state, 0.1, 0.2)
    assert RunState.from_dict(state.to_dict()) == state


def test_csv_has_every_column_and_leaves_missing_values_empty(tmp_path) -> None:
    state = RunState()
    state.finish_epoch({"seconds": 1.0, "train/loss": 2.5}, None, validated=False)
    state.finish_epoch({"seconds": 1.0, "train/loss": 1.5, "val/AP": 0.25}, 0.25, validated=True)
    state.write_csv(tmp_path / "metrics.csv")
    rows = list(csv.DictReader((tmp_path / "metrics.csv").open()))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert [row["val/AP"] for row in rows] == ["", "0.25"]


def test_nan_guard_names_the_files_of_the_batch(tmp_path) -> None:
    records = tiny.squares(tmp_path / "data").splits["train"]
    guard = NanGuard(records, tmp_path)
    guard.check(torch.tensor(3.0), [0, 1], epoch=0, batch=0)
    with pytest.raises(TrainingError, match=r"epoch 2, batch 5.*nan_batch\.json"):
        guard.check(torch.tensor(float("inf")), [4, 2], epoch=1, batch=5)
    written = json.loads((tmp_path / "nan_batch.json").read_text())
    assert written == {"epoch": 2, "batch": 5, "files": [str(records[4].path), str(records[2].path)]}


@pytest.mark.parametrize(
    ("environment", "main"),
    [
        ({}, True),
        ({"LOCAL_RANK": "0", "NODE_RANK": "0"}, True),
        ({"LOCAL_RANK": "1", "NODE_RANK": "0"}, False),
        ({"NODE_RANK": "1"}, False),
        ({"RANK": "0", "LOCAL_RANK": "0"}, True),
        ({"RANK": "2", "LOCAL_RANK": "0"}, False),
        ({"SLURM_PROCID": "3"}, False),
    ],
)
def test_main_process_is_rank_zero_of_any_launcher(environment, main) -> None:
    assert is_main_process(environment) is main


def test_seeds_of_different_epochs_ranks_and_batches_differ() -> None:
    seeds = {mix_seed(0, epoch, rank, batch) for epoch in range(5) for rank in range(3) for batch in range(5)}
    assert len(seeds) == 75
    assert mix_seed(0, 1, 2) == mix_seed(0, 1, 2)


def test_resume_state_that_is_a_hostile_pickle_is_refused_without_running_it(tmp_path) -> None:
    class Hostile:
        def __reduce__(self):
            return (open, (str(tmp_path / "owned"), "w"))

    path = tmp_path / "resume.ckpt"
    path.write_bytes(pickle.dumps(Hostile()))
    with pytest.raises(TrainingError, match="damaged or not ours"):
        AtomicCheckpointIO().load_checkpoint(path)
    torch.save({"state": Hostile()}, path)
    with pytest.raises(TrainingError, match="damaged or not ours"):
        AtomicCheckpointIO().load_checkpoint(path)
    assert not (tmp_path / "owned").exists()


def test_truncated_resume_state_is_one_clear_line(tmp_path) -> None:
    path = tmp_path / "resume.ckpt"
    AtomicCheckpointIO().save_checkpoint({"tensor": torch.zeros(1000)}, path)
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(TrainingError, match="damaged or not ours") as caught:
        AtomicCheckpointIO().load_checkpoint(path)
    assert "\n" not in str(caught.value)


def test_full_disk_keeps_the_old_resume_state(tmp_path, monkeypatch) -> None:
    path = tmp_path / "resume.ckpt"
    AtomicCheckpointIO().save_checkpoint({"epoch": 1}, path)

    def full(value, target):
        target.write_bytes(b"half of it")
        raise RuntimeError("PytorchStreamWriter failed writing file data/0: file write failed")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OutputError, match=r"resume\.ckpt.*is the disk full"):
        AtomicCheckpointIO().save_checkpoint({"epoch": 2}, path)
    monkeypatch.undo()
    assert AtomicCheckpointIO().load_checkpoint(path) == {"epoch": 1}
    assert [entry.name for entry in tmp_path.iterdir()] == ["resume.ckpt"]
