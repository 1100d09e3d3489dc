import ast
import graphlib
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# What each part may import, besides itself and the generated API.
ALLOWED = {
    "chassis": [],
    "rng_svc": ["chassis"],
    "hasher_svc": ["chassis"],
    "worker_svc": ["chassis"],
    "webui_svc": ["chassis"],
    "load_test": ["chassis", "worker_svc"],
    "local_run": ["chassis", "rng_svc", "hasher_svc", "worker_svc", "webui_svc", "load_test"],
    "deploy": ["chassis"],
}

Graph = dict[str, set[str]]


def imports(path: Path, modules: Graph) -> set[str]:
    """Return the modules of ours that a file imports anywhere, for types alone, too."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            submodules = {f"{node.module}.{alias.name}" for alias in node.names} & modules.keys()
            found |= submodules or {node.module}
    return found & modules.keys()


@pytest.fixture(scope="module")
def graph() -> Graph:
    listed = subprocess.check_output(["git", "ls-files", "*.py"], cwd=ROOT, text=True).split()
    paths = [Path(path) for path in listed if not path.startswith("tests/") and (ROOT / path).exists()]
    modules: Graph = {".".join(path.with_suffix("").parts).removesuffix(".__init__"): set() for path in paths}
    for name, path in zip(modules, paths, strict=True):
        modules[name] = imports(ROOT / path, modules) - {name}
    return modules


def cycle(graph: Graph) -> list[str]:
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return list(error.args[1])
    return []


def test_no_modules_import_each_other(graph: Graph) -> None:
    assert cycle(graph) == []


def test_no_packages_import_each_other(graph: Graph) -> None:
    packages: Graph = {}
    for name, others in graph.items():
        package = name.rpartition(".")[0]
        for other in (other.rpartition(".")[0] for other in others):
            # A package and one inside it are one concept.
            if not f"{other}.".startswith(f"{package}.") and not package.startswith(f"{other}."):
                packages.setdefault(package, set()).add(other)
    assert cycle(packages) == []


@pytest.mark.parametrize("part", ALLOWED)
def test_a_part_imports_only_what_it_may(graph: Graph, part: str) -> None:
    used = {other.partition(".")[0] for name in graph if name.partition(".")[0] == part for other in graph[name]}
    assert used <= {part, *ALLOWED[part]}


def test_settings_import_nothing_else_of_the_chassis(graph: Graph) -> None:
    assert graph["chassis.settings"] == set()
