"""Recipe keys: names, values, files, and which may differ on resume."""

from __future__ import annotations

import pytest

from ghostyolo.errors import ConfigError
from ghostyolo.train.recipe import TrainRecipe


def test_unknown_key_names_the_nearest_valid_one() -> None:
    with pytest.raises(ConfigError, match=r"unknown key 'epoch': did you mean epochs"):
        TrainRecipe.from_dict({"epoch": 3})


def test_unknown_augmentation_key_is_looked_up_among_augmentations() -> None:
    with pytest.raises(ConfigError, match=r"unknown key 'augment.mozaic': did you mean mosaic"):
        TrainRecipe.from_dict({"augment": {"mozaic": 0.5}})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("epochs", 0),
        ("epochs", "ten"),
        ("epochs", True),
        ("lr", -1.0),
        ("lr", float("nan")),
        ("optimizer", "adam"),
    ],
)
def test_impossible_value_is_named_with_its_key(key: str, value: object) -> None:
    with pytest.raises(ConfigError, match=f"'{key}' is {value!r}: "):
        TrainRecipe.from_dict({key: value})


def test_none_means_the_default() -> None:
    assert TrainRecipe.from_dict({"epochs": None, "batch": 4}) == TrainRecipe.from_dict({"batch": 4})


def test_file_with_yaml_1_1_floats_and_integers_for_floats(tmp_path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text("lr: 1e-3\nweight_decay: 0\naugment: {mosaic: 5e-1}\n")
    recipe = TrainRecipe.from_dict(TrainRecipe.read(path))
    assert (recipe.lr, recipe.weight_decay, recipe.augment.mosaic) == (0.001, 0.0, 0.5)


def test_empty_file_is_all_defaults(tmp_path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text("# nothing\n")
    assert TrainRecipe.read(path) == {}


@pytest.mark.parametrize("content", ["- epochs\n", "epochs: [1\n", "just words"])
def test_file_that_is_no_mapping_is_one_clear_line(tmp_path, content: str) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(content)
    with pytest.raises(ConfigError, match=r"recipe\.yaml") as caught:
        TrainRecipe.read(path)
    assert "\n" not in str(caught.value)


def test_missing_file_is_a_config_error(tmp_path) -> None:
    with pytest.raises(ConfigError, match=r"the recipe .* cannot be read"):
        TrainRecipe.read(tmp_path / "none.yaml")


def test_difference_names_the_first_key_that_changes_what_is_learned() -> None:
    begun = TrainRecipe.from_dict({"seed": 1, "workers": 2})
    assert begun.difference(TrainRecipe.from_dict({"seed": 1, "workers": 0, "threads": 2})) is None
    assert begun.difference(TrainRecipe.from_dict({"seed": 2})) == ("seed", 1, 2)
    flipped = TrainRecipe.from_dict({"seed": 1, "augment": {"fliplr": 0.25}})
    assert flipped.difference(begun) == ("augment.fliplr", 0.25, 0.5)


def test_recipe_survives_its_own_dump() -> None:
    recipe = TrainRecipe.from_dict({"lr": 0.02, "augment": {"mixup": 0.1}})
    assert TrainRecipe.from_dict(recipe.model_dump(mode="json")) == recipe
