"""Names of files and folders."""

from __future__ import annotations

from ghostyolo.files import free_stem, slug


def test_names_become_folders() -> None:
    assert slug("a b/c=1, d") == "a-b-c=1-d"
    assert slug("...") == "-"


def test_first_free_name_is_taken() -> None:
    assert free_stem("a", {"b"}.__contains__) == "a"
    assert free_stem("a", {"a", "a-2"}.__contains__) == "a-3"
