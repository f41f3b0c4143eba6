"""The house rules that no linter has: headers, short functions, imports that run one way."""

from __future__ import annotations

import ast
from dataclasses import fields
from graphlib import TopologicalSorter
from pathlib import Path
from statistics import median

from gridcast.options import ClientOptions, SubscribeOptions

_ROOT = Path(__file__).parents[1]
_SOURCES = sorted((_ROOT / "src" / "gridcast").glob("*.py"))
_FUNCTION_LINES_MAX, _FUNCTION_LINES_MEDIAN_MAX, _README_LINES_MAX = 70, 8, 120


def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def test_every_file_opens_with_what_it_owns_and_must_not_do() -> None:
    assert len(_SOURCES) > 15
    for path in [*_SOURCES, *(_ROOT / "tests").glob("*.py")]:
        assert ast.get_docstring(_tree(path)), path
    for path in _SOURCES:
        words = (ast.get_docstring(_tree(path)) or "").split()
        assert path.name == "__init__.py" or "Must" in words, path


def test_functions_are_short() -> None:
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    nodes = [node for path in _SOURCES for node in ast.walk(_tree(path)) if isinstance(node, kinds)]
    lines = [(node.end_lineno or 0) - node.lineno + 1 for node in nodes]
    assert max(lines) <= _FUNCTION_LINES_MAX
    assert median(lines) <= _FUNCTION_LINES_MEDIAN_MAX


def test_imports_run_one_way() -> None:
    names = {path.stem for path in _SOURCES} - {"__init__"}
    graph = {path.stem: _imported(path) & names for path in _SOURCES if path.stem in names}
    assert len(list(TopologicalSorter(graph).static_order())) == len(names)


def _imported(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.ImportFrom) and node.module == "gridcast":
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("gridcast."):
            found.add((node.module or "").partition(".")[2])
    return found


def test_the_readme_is_short_and_has_every_option_with_its_default() -> None:
    text = (_ROOT / "README.md").read_text()
    assert len(text.splitlines()) <= _README_LINES_MAX
    rows = [line.split(" | ") for line in text.splitlines() if line.startswith("| `")]
    told = {name.strip("`"): row[1] for row in rows for name in row[0][2:].split(", ")}
    for field in [*fields(ClientOptions), *fields(SubscribeOptions)]:
        words = ("none", "the server's") if field.default is None else _written(field.default)
        assert told[field.name].strip("`").split(", ")[-1] in words, field.name


def _written(default: object) -> tuple[str, ...]:
    mebibytes = f"{default >> 20} MiB" if isinstance(default, int) else ""
    number = f"{default:g}" if isinstance(default, float) else str(default)
    return (number, f'"{default}"', mebibytes, ["0.5", "20"][-1] if default == 0.5 else "")
