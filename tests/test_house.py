"""Rules of the source tree: who imports whom, what lies where, how long things are, what has a test and a reason."""

import ast
import functools
import re
import statistics
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FORBIDDEN = {
    "lobmodels": {"optuna", "sqlalchemy", "search", "storage", "lobtuna"},
    "search": {"lobtuna"},
    "storage": {"torch", "search", "lobmodels", "lobtuna"},
}
TOP_LEVEL = {
    "lobmodels", "lobtuna", "search", "storage", "studies", "tests", "docs",
    "pyproject.toml", "constraints.txt", "Makefile", "README.md", "CHANGELOG.md", "LICENSE",
}  # fmt: skip

# Within a package a module imports only what stands before it. What is not named here is ordered by "no circle" alone.
ORDER = {
    "lobmodels": (
        "errors", "schema", "features", "config", "files", "table", "distributions", "metric", "bootstrap",
        "serialization", "own_features", "inputs", "data", "networks", "checkpoint", "training", "plugins", "profile",
        "ensemble", "scoring",
    ),
    "search": (
        "errors", "studyfile", "study", ("report", "ship"), "work", ("profile", "launch"), "cli",
    ),
}  # fmt: skip
SOURCES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for package in ("lobmodels", "lobtuna", "search", "storage")
    for path in sorted((ROOT / package).rglob("*.py"))
}
ROOMS = 10  # entries on the top level of `search`
LONGEST_FILE, LONG_FILES = 300, {"lobmodels/ensemble/runtime.py"}  # it travels alone into a submission: one file
MEDIAN_LINES, P90_LINES = 8, 22  # of functions, docstrings not counted
WITHOUT_TEST = {"lobmodels.errors", "lobmodels.schema", "storage.errors"}  # names and data, no logic
# Compiled functions that only a compiled caller can reach: the tests of `cpu_recurrent` and `gpu_recurrent` test them.
WITHIN_ANOTHER = {f"lobmodels.networks.{name}" for name in ("cpu_cells", "cpu_kernels", "gpu_kernels")}


def imports(path: Path) -> set[str]:
    """Top-level names that a file imports anywhere, type-checking blocks included."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names.add(node.module.split(".")[0])
    return names


@pytest.mark.parametrize("package", FORBIDDEN)
def test_import_rule(package: str) -> None:
    """The learning core knows no study, the storage knows no torch, and nothing knows `lobtuna`, the face of all."""
    broken = {
        str(path.relative_to(ROOT)): found
        for path in (ROOT / package).rglob("*.py")
        if (found := imports(path) & FORBIDDEN[package])
    }
    assert not broken


@pytest.mark.parametrize("path", ["lobmodels/ensemble/runtime.py", "lobmodels/features.py"])
def test_what_travels_needs_numpy_alone(path: str) -> None:
    """The files copied into a submission import the standard library and numpy; numba only where it is installed, and
    onnxruntime only for a member whose network a plugin defines."""
    assert imports(ROOT / path) <= set(sys.stdlib_module_names) | {"numpy", "numba", "onnxruntime"}


def test_top_level() -> None:
    """The top level holds the packages, the project's papers, dotfiles, and nothing else."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    top = {line.split("/")[0] for line in listed.splitlines()}
    assert {name for name in top if not name.startswith(".")} == TOP_LEVEL


def test_every_dependency_has_its_reason() -> None:
    """Each line of a dependency list says why it is there."""
    text = (ROOT / "pyproject.toml").read_text()
    project = tomllib.loads(text)["project"]
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    for requirement in (r for group in groups for r in group if not r.startswith("lobtuna[")):
        line = next(line for line in text.splitlines() if f'"{requirement}"' in line)
        assert re.search(r"#\s*\w+", line), f"{requirement} has no reason"


def test_help_needs_no_torch() -> None:
    """`lobtuna --help` answers without importing torch, optuna or pyarrow."""
    code = (
        "import sys, search.cli\n"
        "try: search.cli.main(['--help'])\n"
        "except SystemExit: pass\n"
        "loaded = {'torch', 'optuna', 'pyarrow', 'numba', 'plotly', 'sqlalchemy'} & set(sys.modules)\n"
        "assert not loaded, loaded"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "lobtuna" in done.stdout


def test_looking_at_a_study_needs_no_torch() -> None:
    """What `status`, `rank`, `replicate`, `create`, `stop` and `studies` import leaves torch out (over a second)."""
    code = (
        "import sys, search.study.status, search.study.replication, search.study.ranking\n"
        "import search.study.create, search.study.halt, search.study.listing\n"
        "assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@functools.cache
def imported_modules(name: str) -> set[str]:
    """Modules of the project that the module `name` imports anywhere, in functions and for type checking too."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(SOURCES[name].read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            full = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {path if path in SOURCES else node.module for path in full}
    return found & set(SOURCES) - {name}


def circle_from(start: str, graph: dict[str, set[str]]) -> list[str]:
    """The shortest way through `graph` from `start` back to it; empty where there is none."""
    came: dict[str, str] = {}
    waiting = [start]
    while waiting:
        at = waiting.pop(0)
        for following in sorted(graph[at]):
            if following == start:
                way = [at]
                while way[-1] != start:
                    way.append(came[way[-1]])
                return [*reversed(way), start]
            if following not in came:
                came[following] = at
                waiting.append(following)
    return []


@pytest.mark.parametrize("package", ["lobmodels", "lobtuna", "search", "storage"])
def test_no_import_circle(package: str) -> None:
    """No module imports itself by way of others, not even inside a function."""
    graph = {name: imported_modules(name) for name in SOURCES}
    circles = {name: circle for name in graph if name.split(".")[0] == package and (circle := circle_from(name, graph))}
    assert not circles, " -> ".join(min(circles.values(), key=len))


@pytest.mark.parametrize("package", ORDER)
def test_imports_run_down(package: str) -> None:
    """A part of a package imports only parts that stand before it in `ORDER`; two of one place know nothing of each
    other."""
    places = [(part,) if isinstance(part, str) else part for part in ORDER[package]]
    rank = {name: i for i, names in enumerate(places) for name in names}
    upwards = []
    for name in SOURCES:
        for other in imported_modules(name):
            if name.count(".") and other.count(".") and {name.split(".")[0], other.split(".")[0]} == {package}:
                here, there = name.split(".")[1], other.split(".")[1]
                if here != there and here in rank and there in rank and rank[there] >= rank[here]:
                    upwards.append(f"{name} imports {other}")
    assert not upwards


def test_order_names_what_is_there() -> None:
    """Every part in `ORDER` exists, and every package below `lobmodels` and `search` has its place."""
    for package, parts in ORDER.items():
        named = {name for part in parts for name in ((part,) if isinstance(part, str) else part)}
        assert named <= {name.split(".")[1] for name in SOURCES if name.startswith(f"{package}.")}
        assert {path.parent.name for path in (ROOT / package).glob("*/__init__.py")} <= named


def bound(node: ast.stmt) -> list[str]:
    """The names to which a statement of a module gives a value."""
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return [node.name]
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    flat = [part for target in targets for part in (target.elts if isinstance(target, ast.Tuple) else [target])]
    return [part.id for part in flat if isinstance(part, ast.Name)]


def test_a_module_gives_a_name_one_value() -> None:
    """Two constants of one name, as two merged branches left them once, are one: whoever reads the first gets the
    second."""
    twice = {}
    for name, path in SOURCES.items():
        counts = Counter(found for node in ast.parse(path.read_text()).body for found in bound(node))
        twice |= {f"{name}.{found}": count for found, count in counts.items() if count > 1}
    assert not twice


def test_few_rooms_in_search() -> None:
    """A newcomer sees at most ten things in `search`."""
    listed = subprocess.run(["git", "ls-files", "search"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    # py.typed is no room: an empty file that type checkers look for in exactly this place (PEP 561)
    assert len({line.split("/")[1] for line in listed.splitlines()} - {"py.typed"}) <= ROOMS


def test_no_file_is_long() -> None:
    """One concept a file: at most 300 lines, but for the runtime."""
    lengths = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in SOURCES.values()}
    assert not {name: n for name, n in lengths.items() if n > LONGEST_FILE and name not in LONG_FILES}


def lines_of_functions(path: Path) -> Iterator[int]:
    """Lines of each function of a file, nested ones included, without decorators and docstring."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            first = node.body[0]
            has_docstring = ast.get_docstring(node, clean=False) is not None
            docstring = (first.end_lineno or 0) - first.lineno + 1 if has_docstring else 0
            yield node.end_lineno - node.lineno + 1 - docstring


@pytest.mark.parametrize("package", ["lobmodels", "lobtuna", "search", "storage"])
def test_functions_are_short(package: str) -> None:
    """Half of the functions have at most 8 lines, nine in ten at most 22."""
    paths = [path for name, path in SOURCES.items() if name.split(".")[0] == package]
    lengths = sorted(n for path in paths for n in lines_of_functions(path))
    assert statistics.median(lengths) <= MEDIAN_LINES
    assert lengths[int(0.9 * len(lengths))] <= P90_LINES


def has_logic(path: Path) -> bool:
    """Whether a file defines a function, of a class or its own."""
    return any(
        isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) for node in ast.walk(ast.parse(path.read_text()))
    )


def test_tests_mirror_the_sources() -> None:
    """`package/part/name.py` is tested in `tests/package/part/test_name.py`."""
    missing = {
        name
        for name, path in SOURCES.items()
        if path.name != "__init__.py" and has_logic(path) and name not in WITHOUT_TEST | WITHIN_ANOTHER
        if not (ROOT / "tests" / path.relative_to(ROOT).with_name(f"test_{path.name}")).is_file()
    }
    assert not missing


def test_helpers_have_names_of_their_own() -> None:
    """A file beside the tests that holds none is not called like a source, or one would look for its tests there."""
    sources = {path.name for path in SOURCES.values()}
    helpers = [path for path in (ROOT / "tests").rglob("*.py") if not path.name.startswith(("test_", "__init__"))]
    assert not [str(path.relative_to(ROOT)) for path in helpers if path.name in sources]
