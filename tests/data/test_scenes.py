"""Scenes of many kinds of objects: exact boxes, the same for the same seed, and each ingredient can be left out."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="needs the scenes extra")
pytest.importorskip("matplotlib", reason="needs fonts")

from ghostyolo.data.formats import load_dataset
from ghostyolo.data.scenes import INGREDIENTS, generate_scenes
from ghostyolo.data.scenes.draw import draw_scene
from ghostyolo.data.scenes.kinds import VARIANTS, all_kinds, drawing, kinds_without
from ghostyolo.errors import ConfigError, OutputError


@pytest.fixture(scope="module")
def kinds():
    """All but the many glyphs and fractals, which take longest to draw."""
    return kinds_without(["glyphs", "fractals"])


def test_there_are_hundreds_of_kinds_with_a_plain_name_each():
    names = [kind.name for kind in all_kinds()]
    assert len(names) > 300
    assert len({name.casefold() for name in names}) == len(names)
    assert all(name.isascii() for name in names)
    assert {kind.ingredient for kind in all_kinds()} == set(INGREDIENTS)


@pytest.mark.parametrize("ingredient", INGREDIENTS)
def test_a_drawing_fills_its_frame_and_no_two_of_a_kind_are_alike(ingredient):
    kind = next(kind for kind in all_kinds() if kind.ingredient == ingredient)
    patches = [drawing(kind, variant) for variant in range(3)]
    for patch in patches:
        seen = patch.opacity > 64
        for border in (seen[0], seen[-1], seen[:, 0], seen[:, -1]):
            assert border.any()
        assert patch.shade.shape[:2] == patch.opacity.shape
    drawn = {(patch.opacity.tobytes(), patch.shade.tobytes()) for patch in patches}
    assert len(drawn) > 1


def test_boxes_lie_in_the_picture_around_what_is_drawn(kinds):
    scenes = [draw_scene(kinds, "train", number, 128, seed=0) for number in range(60)]
    boxes = np.concatenate([scene.boxes_xyxy for scene in scenes])
    assert len(boxes) > 200
    assert boxes.min() >= 0
    assert boxes.max() <= 128
    sides = boxes[:, 2:] - boxes[:, :2]
    assert sides.min() >= 1
    longest = sides.max(1)
    assert longest.min() < 8
    assert longest.max() > 90


def test_boxes_are_those_of_the_pixels_that_an_object_changes(kinds, monkeypatch):
    from ghostyolo.data.scenes import draw

    monkeypatch.setattr(draw, "_photographed", lambda rng, canvas: canvas)
    with_objects = [draw_scene(kinds, "train", number, 128, seed=0) for number in range(30)]
    monkeypatch.setattr(draw, "_place", lambda *arguments: None)
    without = [draw_scene(kinds, "train", number, 128, seed=0) for number in range(30)]
    alone = 0
    for scene, empty in zip(with_objects, without, strict=True):
        if len(scene.labels) != 1:
            continue
        alone += 1
        changed = np.abs(scene.image - empty.image).max(2) > 0
        rows, columns = np.flatnonzero(changed.any(1)), np.flatnonzero(changed.any(0))
        extent = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])
        assert np.abs(extent - scene.boxes_xyxy[0]).max() <= 3  # soft edges
    assert alone


def test_val_has_other_drawings_than_train(kinds, monkeypatch):
    from ghostyolo.data.scenes import draw

    used: dict[str, set[int]] = {"train": set(), "val": set()}
    for split, variants in used.items():
        monkeypatch.setattr(draw, "drawing", lambda kind, variant, s=variants: s.add(variant) or drawing(kind, variant))
        for number in range(8):
            draw_scene(kinds, split, number, 96, seed=0)
    assert not used["train"] & used["val"]
    assert used["train"] | used["val"] <= set(range(VARIANTS))


def test_a_scene_depends_on_seed_split_and_number_alone(kinds):
    first = draw_scene(kinds, "train", 7, 96, seed=1)
    draw_scene(kinds, "train", 8, 96, seed=1)
    again = draw_scene(kinds, "train", 7, 96, seed=1)
    np.testing.assert_array_equal(first.image, again.image)
    np.testing.assert_array_equal(first.boxes_xyxy, again.boxes_xyxy)
    for other in (draw_scene(kinds, "train", 7, 96, seed=2), draw_scene(kinds, "val", 7, 96, seed=1)):
        assert not np.array_equal(first.image, other.image)


@pytest.mark.parametrize("layout", ["yolo", "coco"])
def test_what_is_written_is_read(tmp_path, layout):
    without = [name for name in INGREDIENTS if name != "solids"]
    written = generate_scenes(tmp_path / "s", train=6, val=2, imgsz=96, layout=layout, without=without)
    read = load_dataset(tmp_path / "s")
    assert read.class_names == written.class_names
    assert "sphere" in read.class_names
    for split in ("train", "val"):
        for one, other in zip(read.splits[split], written.splits[split], strict=True):
            np.testing.assert_allclose(one.boxes_xyxy, other.boxes_xyxy, atol=0.01)
            np.testing.assert_array_equal(one.labels, other.labels)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"without": ["glyph"]}, "ingredient 'glyph' of scenes is unknown.*glyphs"),
        ({"without": list(INGREDIENTS)}, "nothing is left to draw"),
        ({"train": 0, "val": 0}, "at least 1 scene"),
        ({"imgsz": 20}, "imgsz must be 64 to 4096"),
        ({"of": "letters"}, "'objects' or 'digits'"),
        ({"seed": -1}, "seed must be 0 or more"),
        ({"layout": "vic"}, "vic"),
    ],
)
def test_impossible_options_write_nothing(tmp_path, options, message):
    with pytest.raises(ConfigError, match=message):
        generate_scenes(tmp_path / "s", **options)
    assert not (tmp_path / "s").exists()


def test_a_folder_with_something_in_it_is_kept(tmp_path):
    (tmp_path / "mine.txt").write_text("x")
    with pytest.raises(OutputError):
        generate_scenes(tmp_path, train=1, val=0)
