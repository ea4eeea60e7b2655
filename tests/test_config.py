"""Typed settings and the texts that fill them."""

from __future__ import annotations

import pytest
from pydantic import Field

from ghostyolo.config import StrictModel, fields_of, merge_options, parse_assignment, read_yaml, spread_dots
from ghostyolo.errors import ConfigError


class Inner(StrictModel):
    scale: float = Field(0.5, ge=0, le=1)


class Outer(StrictModel):
    epochs: int = Field(1, ge=1)
    augment: Inner = Field(default_factory=Inner)


def test_file_with_a_name_twice_is_refused_and_numbers_are_numbers(tmp_path) -> None:
    path = tmp_path / "grid.yaml"
    path.write_text("cells:\n  a: {lr: 1}\n  a: {lr: 2}\n")
    with pytest.raises(ConfigError, match="'a' is there twice"):
        read_yaml(path, "grid")
    path.write_text("vary: {lr: [1e-3, 1e-2]}\nbase: &b {epochs: 2}\nteachers: {t: {<<: *b, epochs: 3}}\n")
    assert read_yaml(path, "grid") == {
        "vary": {"lr": [1e-3, 1e-2]}, "base": {"epochs": 2}, "teachers": {"t": {"epochs": 3}},
    }  # fmt: skip
    for text, message in (("[1]", "must be 'key: value' lines"), ("a: [", "is not YAML")):
        path.write_text(text)
        with pytest.raises(ConfigError, match=message):
            read_yaml(path, "grid")
    with pytest.raises(ConfigError, match="the grid"):
        read_yaml(tmp_path / "none.yaml", "grid")


def test_assignments() -> None:
    assert parse_assignment("branches=1,2", "--vary", several=True) == ("branches", [1, 2])
    assert parse_assignment("lr=1e-3", "--base") == ("lr", 1e-3)
    assert parse_assignment("distil=logits=1,boxes=2", "--set") == ("distil", "logits=1,boxes=2")
    assert parse_assignment("model=ghostnetv3:width=0.5,resnet18", "--vary", several=True)[1] == [
        "ghostnetv3:width=0.5", "resnet18",
    ]  # fmt: skip
    for text in ("branches", "=1", "branches="):
        with pytest.raises(ConfigError, match="write KEY=VALUE,VALUE"):
            parse_assignment(text, "--vary", several=True)


def test_nested_options() -> None:
    assert spread_dots({"augment.erase": 1, "augment": {"mixup": 2}}) == {"augment": {"erase": 1, "mixup": 2}}
    assert merge_options({"a": {"b": 1, "c": 2}, "d": 3}, {"a": {"b": 4}}) == {"a": {"b": 4, "c": 2}, "d": 3}


def test_fields_of_models_inside_have_dots() -> None:
    assert list(fields_of(Outer)) == ["epochs", "augment.scale"]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"epoch": 1}, "unknown key 'epoch': did you mean epochs"),
        ({"scale": 1}, r"unknown key 'scale': did you mean augment\.scale"),
        ({"augment": {"scal": 1}}, r"unknown key 'augment\.scal': did you mean scale"),
        ({"augment": {"scale": 2}}, r"'augment\.scale' is 2: input should be less than or equal to 1"),
        ({"epochs": "1"}, "'epochs' is '1': input should be a valid integer"),
    ],
)
def test_wrong_settings_are_one_line_that_helps(values, message) -> None:
    with pytest.raises(ConfigError, match=f"^here: {message}"):
        Outer.from_dict(values, "here")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"epoch": 1}, "unknown key 'epoch': did you mean epochs"),
        ({"epochs": 0}, "'epochs' is 0: input should be greater"),
        ({"augment": {"scale": 2}}, r"'augment\.scale' is 2: input should be less than or equal to 1"),
    ],
)
def test_model_made_directly_refuses_in_the_same_words(values, message) -> None:
    with pytest.raises(ConfigError, match=f"^Outer: {message}"):
        Outer(**values)
