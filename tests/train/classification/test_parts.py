"""Recipes, schedule, optimiser, mixing and the cache of a teacher's logits, each on its own."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
import torch
from rich.console import Console
from torch import nn

from ghostyolo.data.augment.config import ClassAugment
from ghostyolo.errors import ConfigError, WeightsError
from ghostyolo.train.classification.logit_cache import LogitCache, open_cache
from ghostyolo.train.classification.module import build_mixup, build_optimizer, mix
from ghostyolo.train.recipe import ClassRecipe
from ghostyolo.train.schedule import plan_class_schedule


def recipe(**values: object) -> ClassRecipe:
    return ClassRecipe.from_dict(values)


@pytest.mark.parametrize("name", ["ghostnetv3", "short", "cifar"])
def test_recipes_of_the_package_are_recipes(name) -> None:
    assert ClassRecipe.from_dict(ClassRecipe.read(name), name).branches == 3


def test_the_papers_recipe_says_what_the_paper_says() -> None:
    paper = ClassRecipe.from_dict(ClassRecipe.read("ghostnetv3"))
    assert (paper.epochs, paper.optimizer, paper.nominal_batch, paper.lr) == (600, "lamb", 2048, 5e-3)
    assert (paper.weight_decay, paper.ema_decay, paper.schedule) == (0.05, 0.9999, "cosine")
    assert (paper.augment.mixup, paper.augment.cutmix) == (0, 0)
    assert paper.augment.randaugment
    assert paper.augment.erase > 0


def test_every_recipe_file_has_a_test() -> None:
    assert set(ClassRecipe.named()) == {"ghostnetv3", "short", "cifar"}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"alpha": 1.5}, "'alpha' is 1.5: input should be less than or equal to 1"),
        ({"alpha": -0.1}, "'alpha' is -0.1"),
        ({"tau": 0.0}, "'tau' is 0.0: input should be greater than 0"),
        ({"epoch": 3}, "unknown key 'epoch': did you mean epochs"),
        ({"augment": {"mixupp": 1.0}}, "unknown key 'augment.mixupp': did you mean mixup"),
        ({"output_stride": 4}, "'output_stride' is 4"),
        ({"schedule": "linear"}, "'schedule' is 'linear'"),
    ],
)
def test_impossible_values_are_one_line(values, message) -> None:
    with pytest.raises(ConfigError, match=message) as raised:
        ClassRecipe.from_dict(values)
    assert "\n" not in str(raised.value)


def test_unknown_recipe_offers_the_nearest() -> None:
    with pytest.raises(ConfigError, match="unknown recipe 'ghostnet3': did you mean ghostnetv3"):
        ClassRecipe.read("ghostnet3")


def test_cosine_with_warm_up_by_hand() -> None:
    schedule = plan_class_schedule(
        recipe(epochs=6, lr=1.0, warmup_epochs=2.0, warmup_lr=0.2, final_lr=0.1), steps_per_epoch=2
    )
    # Warm-up over 4 steps, then 8 steps of cosine from 1 to 0.1: a quarter, a half and three quarters on.
    assert [schedule.lr_at(step) for step in range(4)] == pytest.approx([0.2, 0.4, 0.6, 0.8])
    expected = [1.0, 0.1 + 0.9 * (1 + 2**-0.5) / 2, 0.55, 0.1 + 0.9 * (1 - 2**-0.5) / 2, 0.1]
    assert [schedule.lr_at(step) for step in (4, 6, 8, 10, 12)] == pytest.approx(expected)


def test_steps_fall_every_few_epochs() -> None:
    options = {"epochs": 9, "lr": 1.0, "schedule": "step", "decay_rate": 0.5, "decay_epochs": 3.0, "warmup_epochs": 0.0}
    schedule = plan_class_schedule(recipe(**options), steps_per_epoch=2)
    assert [schedule.lr_at(step) for step in (0, 5, 6, 11, 12)] == [1.0, 1.0, 0.5, 0.5, 0.25]


def test_one_epoch_of_one_step_learns_at_the_full_rate() -> None:
    schedule = plan_class_schedule(recipe(epochs=1, lr=0.3, warmup_epochs=5.0), steps_per_epoch=1)
    assert schedule.lr_at(0) == pytest.approx(0.3)


@pytest.mark.parametrize(("devices", "accumulation"), [(1, 8), (4, 2), (16, 1)])
def test_accumulation_reaches_the_nominal_batch(devices, accumulation) -> None:
    schedule = plan_class_schedule(recipe(batch=256, nominal_batch=2048), steps_per_epoch=1, world_size=devices)
    assert schedule.accumulation == accumulation


@pytest.mark.parametrize("name", ["lamb", "adamw", "sgd"])
def test_norms_and_biases_do_not_decay(name) -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 2))
    optimizer = build_optimizer(model, recipe(optimizer=name, weight_decay=0.1))
    decayed = [p for group in optimizer.param_groups if group["weight_decay"] for p in group["params"]]
    assert {id(p) for p in decayed} == {id(model[0].weight), id(model[2].weight)}
    assert sum(len(group["params"]) for group in optimizer.param_groups) == 6


def mixed(count: int, seed: int = 0, **augment: float) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    images = torch.arange(count).float().view(-1, 1, 1, 1).expand(-1, 3, 8, 8).clone()
    labels = torch.arange(count) % 3
    mixup = build_mixup(ClassAugment.model_validate(augment), 3)
    assert mixup is not None
    return images, *mix(mixup, images, labels, seed, 3)


def test_mixup_blends_pictures_and_targets_by_one_share() -> None:
    original, images, targets = mixed(4, mixup=1.0)
    share = (images[0] - original[3]).mean() / (original[0] - original[3]).mean()
    assert 0 < float(share) < 1
    torch.testing.assert_close(images, share * original + (1 - share) * original.flip(0))
    # Labels 0, 1, 2, 0: the first and last picture have one class, the two in the middle have two.
    torch.testing.assert_close(targets[1], torch.tensor([0.0, float(share), 1 - float(share)]), atol=1e-6, rtol=0)
    torch.testing.assert_close(targets.sum(1), torch.ones(4))


def test_cutmix_pastes_a_box_and_counts_its_area() -> None:
    original, images, targets = mixed(4, cutmix=1.0)
    pasted = images[1, 0] == original[2, 0]
    assert torch.equal(images[1, 0][~pasted], original[1, 0][~pasted])
    assert float(targets[1, 2]) == pytest.approx(float(pasted.float().mean()), abs=1e-6)


def test_mixing_repeats_with_its_seed_and_leaves_an_odd_picture_alone() -> None:
    original, images, targets = mixed(5, mixup=1.0)
    torch.testing.assert_close(mixed(5, mixup=1.0)[1], images)
    assert not torch.equal(mixed(5, seed=1, mixup=1.0)[1], images)
    assert torch.equal(images[4], original[4])
    assert targets[4].tolist() == [0, 1, 0]


def test_nothing_is_mixed_by_default() -> None:
    assert build_mixup(ClassAugment(), 3) is None


RUN = {"teacher": "big", "pictures": 1000, "classes": 10, "epochs": 5, "seed": 0, "augment": {"fliplr": 0.5}}


def quiet() -> Console:
    return Console(file=io.StringIO())


def test_cache_says_its_size_before_and_gives_back_what_was_put(tmp_path) -> None:
    console = quiet()
    folder = open_cache(tmp_path / "cache", RUN, console)
    assert "up to 0.1 MB" in console.file.getvalue()  # 1000 x 10 x 5 epochs x 2 bytes
    cache = LogitCache(folder)
    cache.begin_epoch(0)
    assert cache.get([3, 1]) is None
    logits = torch.tensor([[1.0, 2.0], [3.0004, -4.0]])
    given = cache.put([3, 1], logits)
    cache.put([2], torch.tensor([[9.0, 9.0]]))
    cache.end_epoch()
    again = LogitCache(open_cache(folder, RUN, console))
    again.begin_epoch(0)
    assert torch.equal(again.get([1, 3]), given[[1, 0]])
    assert torch.equal(given, logits.half().float())
    assert again.complete(1)
    assert not again.complete(2)
    with pytest.raises(WeightsError, match="lacks picture 7"):
        again.get([7])


@pytest.mark.parametrize(
    ("key", "value"), [("seed", 1), ("epochs", 6), ("augment", {"fliplr": 0.0}), ("teacher", "bigger"), ("pictures", 9)]
)
def test_a_cache_of_another_run_is_refused_by_the_key(tmp_path, key, value) -> None:
    open_cache(tmp_path, RUN, quiet())
    before = (tmp_path / "cache.json").read_text()
    with pytest.raises(ConfigError, match=f"is of another run: '{key}' is"):
        open_cache(tmp_path, {**RUN, key: value}, quiet())
    assert (tmp_path / "cache.json").read_text() == before


def test_a_folder_of_something_else_is_no_cache(tmp_path) -> None:
    (tmp_path / "thesis.tex").write_text("years")
    with pytest.raises(ConfigError, match="holds something else"):
        open_cache(tmp_path, RUN, quiet())


def test_damaged_logits_are_named(tmp_path) -> None:
    folder = open_cache(tmp_path, RUN, quiet())
    cache = LogitCache(folder)
    cache.file(0).write_bytes(b"half")
    with pytest.raises(WeightsError, match=r"epoch0001\.safetensors are damaged"):
        cache.begin_epoch(0)


def test_an_unfinished_epoch_leaves_no_file_and_ranks_have_their_own(tmp_path) -> None:
    cache = LogitCache(tmp_path, rank=1, world_size=2)
    cache.begin_epoch(0)
    cache.put([0], torch.zeros(1, 2))
    assert list(tmp_path.iterdir()) == []
    cache.end_epoch()
    assert [path.name for path in tmp_path.iterdir()] == ["epoch0001-rank1of2.safetensors"]


def test_the_stored_description_is_plain_json(tmp_path) -> None:
    open_cache(tmp_path, RUN, quiet())
    assert json.loads((tmp_path / "cache.json").read_text()) == RUN
    assert np.prod([RUN[key] for key in ("pictures", "classes", "epochs")]) == 50_000
