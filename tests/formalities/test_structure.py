"""The tree's own rules, which no tool of others checks: one door to workers, no circle, no name for two things."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def modules() -> dict[str, ast.Module]:
    """Every module of the package and of the bundled plugins, parsed, by its dotted name."""
    parsed = {}
    for top in (ROOT / "compare_ag", *(ROOT / "plugins").glob("compare_ag_*")):
        for path in top.rglob("*.py"):
            parts = path.relative_to(top.parent).with_suffix("").parts
            name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            parsed[name] = ast.parse(path.read_text(encoding="utf-8"))
    return parsed


def shared_names(parsed: dict[str, ast.Module]) -> dict[str, list[str]]:
    """Names of classes that stand at the top of more than one module, with these modules."""
    homes = defaultdict(list)
    for module, tree in parsed.items():
        for node in tree.body:
            if isinstance(node, ast.ClassDef):
                homes[node.name].append(module)
    return {name: found for name, found in homes.items() if len(found) > 1}


def statements(body: list[ast.stmt]) -> list[ast.stmt]:
    """What runs, or is read by a type checker, when a module is imported: bodies of functions apart."""
    found = []
    for node in body:
        found.append(node)
        if not isinstance(node, ast.FunctionDef | ast.ClassDef):
            found += statements([child for child in ast.iter_child_nodes(node) if isinstance(child, ast.stmt)])
    return found


def imports(name: str, tree: ast.Module, known: set[str]) -> set[str]:
    """The modules of ours that a module imports at its top, for types alone as well."""
    found = set()
    for node in statements(tree.body):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= inner & known or {node.module}
    return (found & known) - {name}


def circle(graph: dict[str, set[str]]) -> list[str]:
    """Modules that import each other in a circle, in this order; empty where there is none."""
    done: set[str] = set()

    def follow(name: str, way: list[str]) -> list[str]:
        if name in way:
            return way[way.index(name) :]
        if name in done:
            return []
        for other in sorted(graph[name]):
            if found := follow(other, [*way, name]):
                return found
        done.add(name)
        return []

    return next((found for name in graph if (found := follow(name, []))), [])


def test_no_name_of_a_class_stands_in_two_modules():
    assert shared_names(modules()) == {}


def test_modules_do_not_import_each_other_in_a_circle():
    parsed = modules()
    del parsed["compare_ag"]  # names what is public, for readers and type checkers; it loads nothing by itself
    assert circle({name: imports(name, tree, set(parsed)) for name, tree in parsed.items()}) == []


def test_only_the_crew_starts_workers():
    starting = {
        name
        for name, tree in modules().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "WorkerProcess"
    }
    assert starting == {"compare_ag.host.crew"}


@pytest.mark.parametrize(
    ("sources", "names", "cycle"),
    [
        ({"a": "class One: pass\nimport b", "b": "class One: pass"}, {"One": ["a", "b"]}, []),
        ({"a": "import b", "b": "if True:\n    from a import x"}, {}, ["a", "b"]),
        ({"a": "def f():\n    import b", "b": "from a import f"}, {}, []),
    ],
)
def test_these_tests_can_fail(sources, names, cycle):
    parsed = {name: ast.parse(source) for name, source in sources.items()}
    assert shared_names(parsed) == names
    assert circle({name: imports(name, tree, set(parsed)) for name, tree in parsed.items()}) == cycle
