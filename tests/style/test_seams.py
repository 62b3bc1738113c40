"""The rules of the house that a reader relies on: what may be imported where, and that each room says what it holds."""

import ast
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted((ROOT / "src/orlop").rglob("*.py"))
FORBIDDEN_NAMES = {"utils.py", "helpers.py", "common.py", "base_manager.py", "misc.py"}
BROAD_EXCEPT_ALLOWED = {
    "daemon.py",
    "worker.py",
    "keeper.py",
    "main.py",
    "init.py",
    "routes.py",
    "connection.py",
}  # mains and the request loop

# Third-party package -> the only modules that may import it. docs/dependencies.md says why each is there.
THIRD_PARTY = {
    "msgspec": {"state/documents.py"},
    "isal": {"storage/compression.py"},
    "zstandard": {"storage/compression.py"},
}


def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), str(path))


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT / "src/orlop"))


def _imports(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module


@pytest.mark.parametrize("path", [path for path in SOURCES if path.stat().st_size], ids=_name)
def test_a_module_says_what_it_holds(path: Path) -> None:
    assert (ast.get_docstring(_tree(path)) or "").strip(), f"{_name(path)} has no docstring"


def test_no_room_for_leftovers() -> None:
    assert [_name(path) for path in SOURCES if path.name in FORBIDDEN_NAMES] == []


def test_each_third_party_package_has_one_importer_and_is_explained() -> None:
    found: dict[str, set[str]] = defaultdict(set)
    for path in SOURCES:
        for module in _imports(_tree(path)):
            top = module.partition(".")[0]
            if top != "orlop" and top not in sys.stdlib_module_names:
                found[top].add(_name(path))
    assert found == {name: users for name, users in THIRD_PARTY.items() if name in found}
    text = (ROOT / "docs/dependencies.md").read_text()
    assert [name for name in found if f"`{name}`" not in text] == []


def test_nothing_is_caught_blindly_but_in_the_mains() -> None:
    blind = [
        f"{_name(path)}:{node.lineno}"
        for path in SOURCES
        if path.name not in BROAD_EXCEPT_ALLOWED
        for node in ast.walk(_tree(path))
        if isinstance(node, ast.ExceptHandler) and (node.type is None or getattr(node.type, "id", "") in ("Exception", "BaseException"))
        and not any(isinstance(inner, ast.Raise) and inner.exc is None for inner in ast.walk(node))
    ]  # fmt: skip
    assert blind == []


def test_dockers_json_keys_stay_outside_the_engine() -> None:
    """CamelCase keys of Docker's API belong to api, client and cli."""
    keys = {"HostConfig", "NetworkSettings", "RepoTags", "ExposedPorts", "PortBindings", "NetworkMode", "RestartPolicy"}
    inside = ("engine", "network", "runtime", "kernel", "state")
    found = [
        f"{_name(path)}:{node.lineno}"
        for path in SOURCES
        if _name(path).split("/")[0] in inside
        for node in ast.walk(_tree(path))
        if isinstance(node, ast.Constant) and node.value in keys
    ]
    assert found == []
