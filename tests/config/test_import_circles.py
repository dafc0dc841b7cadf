"""No module imports itself through others, imports inside functions included (docs/architecture.md)."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from django.conf import settings

APPS = ("config", "profiles", "employees", "webhooks", "monitoring")


def test_no_module_is_in_an_import_circle() -> None:
    graph = import_graph(settings.BASE_DIR)

    assert len(graph) > 100, "the apps were not found"
    assert sorted(name for name in graph if name in reachable(graph, name)) == []


def test_it_finds_a_circle_through_an_import_inside_a_function() -> None:
    sources = {"a": "from x import b", "x": "", "x.b": "def run():\n    import a\n"}

    graph = {name: set(imported(source, sources)) for name, source in sources.items()}

    assert "a" in reachable(graph, "a")


def import_graph(root: Path) -> dict[str, set[str]]:
    sources = {
        module_name(path.relative_to(root)): path.read_text()
        for app in APPS
        for path in (root / app).rglob("*.py")
        if "migrations" not in path.parts
    }
    return {name: set(imported(source, sources)) - {name} for name, source in sources.items()}


def module_name(path: Path) -> str:
    return ".".join(path.with_suffix("").parts).removesuffix(".__init__")


def imported(source: str, known: dict[str, str]) -> Iterator[str]:
    """Yield the known modules that a source imports; those that only a type checker or `ready()` sees do not count."""
    tree = ast.parse(source)
    ignored = {id(inner) for node in ast.walk(tree) if is_ignored(node) for inner in ast.walk(node)}
    for node in ast.walk(tree):
        if id(node) in ignored:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                yield from (found for found in (name if name in known else node.module,) if found in known)


def is_ignored(node: ast.AST) -> bool:
    is_typing = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
    return is_typing or (isinstance(node, ast.FunctionDef) and node.name == "ready")


def reachable(graph: dict[str, set[str]], start: str) -> set[str]:
    seen: set[str] = set()
    waiting = list(graph[start])
    while waiting:
        name = waiting.pop()
        if name not in seen:
            seen.add(name)
            waiting += graph.get(name, ())
    return seen
