"""Listings say what they pass over."""

from __future__ import annotations

from collections import Counter

from ghostyolo.data.images import IMAGE_SUFFIXES
from ghostyolo.data.listing import describe_passed, list_files

FILES = (
    "b.JPG", "a.avif", "c.jp2", "d.tga", "IMG.HEIC", "._b.JPG", ".DS_Store", "a.txt", "set.zip", "noend",
    ".ipynb_checkpoints/b.jpg", "sub/e.png", "sub/@eaDir/e.png", "__MACOSX/._b.JPG",
)  # fmt: skip


def folder_of(tmp_path):
    for name in FILES:
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).touch()
    return tmp_path


def test_pictures_of_every_kind_are_taken_and_the_rest_is_counted_by_reason(tmp_path):
    listing = list_files(folder_of(tmp_path), IMAGE_SUFFIXES, deep=False)
    assert [path.name for path in listing.files] == ["IMG.HEIC", "a.avif", "b.JPG", "c.jp2", "d.tga"]
    assert listing.passed == Counter({"hidden": 4, "in subfolders": 1, ".zip": 1, "without an ending": 1})
    assert describe_passed(listing.passed).startswith("4 hidden, ")


def test_subfolders_are_entered_when_asked(tmp_path):
    listing = list_files(folder_of(tmp_path), IMAGE_SUFFIXES, deep=True)
    assert [path.name for path in listing.files] == ["IMG.HEIC", "a.avif", "b.JPG", "c.jp2", "d.tga", "e.png"]
    assert listing.passed["hidden"] == 4
