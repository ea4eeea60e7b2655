"""The house rules that a reader can rely on: imports without circles, docstrings that begin with a plain sentence."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "ghostyolo"
FILES = {
    ".".join(path.relative_to(SOURCE.parent).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(SOURCE.rglob("*.py"))
}
ROOMS = sorted({name.split(".")[1] for name in FILES if "." in name})
LONGEST_SENTENCE = 14
"""Words of a docstring's first line."""


def imported(tree: ast.AST) -> Iterator[str]:
    """Names of our modules that a module imports at run time, also inside functions."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in FILES)
        elif isinstance(node, ast.ImportFrom) and node.module in FILES:
            for alias in node.names:
                submodule = f"{node.module}.{alias.name}"
                yield submodule if submodule in FILES else node.module
        yield from imported(node)


def find_circle(graph: dict[str, set[str]]) -> list[str]:
    """Nodes of the first circle that is found, the first one again at its end; empty without one."""
    finished: set[str] = set()

    def walk(node: str, path: list[str]) -> list[str]:
        if node in path:
            return [*path[path.index(node) :], node]
        if node in finished:
            return []
        circle = next((circle for other in sorted(graph[node]) if (circle := walk(other, [*path, node]))), [])
        finished.add(node)
        return circle

    return next((circle for node in graph if (circle := walk(node, []))), [])


def test_circles_are_found():
    assert find_circle({"a": {"b"}, "b": {"c"}, "c": set()}) == []
    assert find_circle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]


def test_no_import_circle():
    graph = {name: set(imported(ast.parse(path.read_text(encoding="utf-8")))) - {name} for name, path in FILES.items()}
    assert find_circle(graph) == []


def documented(tree: ast.Module, public: bool = True) -> Iterator[tuple[int, str, str | None, bool]]:
    """Line, name and docstring of a module, its public classes and functions; and whether one must be there."""
    yield 1, "module", ast.get_docstring(tree), True
    for node in tree.body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and not node.name.startswith("_"):
            yield node.lineno, node.name, ast.get_docstring(node), True
            methods = node.body if isinstance(node, ast.ClassDef) else []
            for method in methods:
                if isinstance(method, ast.FunctionDef) and not method.name.startswith("_"):
                    yield method.lineno, f"{node.name}.{method.name}", ast.get_docstring(method), False


def faults(room: str) -> list[str]:
    """Docstrings of a room whose first line is missing, no sentence or too long."""
    found = []
    for name, path in FILES.items():
        if name.split(".")[1:2] != [room] or not path.read_text(encoding="utf-8").strip():
            continue
        for line, owner, text, required in documented(ast.parse(path.read_text(encoding="utf-8"))):
            first = (text or "").split("\n")[0]
            if (required or text) and (not first.endswith((".", ":", "?")) or len(first.split()) > LONGEST_SENTENCE):
                found.append(f"{path.relative_to(SOURCE)}:{line} {owner}: {first or 'no docstring'}")
    return found


@pytest.mark.parametrize("room", ROOMS)
def test_docstrings_begin_with_one_short_sentence(room: str):
    assert faults(room) == []


def test_the_design_page_has_a_line_for_each_room():
    page = (SOURCE.parents[1] / "docs" / "design" / "index.md").read_text(encoding="utf-8")
    drawing = page.split("```")[1]
    assert [room for room in ROOMS if f"{room}/" not in drawing and f"{room}.py" not in drawing] == []


if __name__ == "__main__":
    for room in ROOMS:
        print(room, len(faults(room)))
