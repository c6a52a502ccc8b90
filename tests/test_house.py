"""The house keeps its own rules: who imports whom, what lies at the top, why each dependency is there."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FORBIDDEN = {
    "lobmodels": {"optuna", "sqlalchemy", "search", "storage"},
    "storage": {"torch", "search", "lobmodels"},
}
TOP_LEVEL = {
    "lobmodels", "search", "storage", "studies", "tests", "docs",
    "pyproject.toml", "constraints.txt", "Makefile", "README.md", "CHANGELOG.md", "LICENSE",
}  # fmt: skip


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
    """The learning core knows no study, the storage knows no torch."""
    broken = {
        str(path.relative_to(ROOT)): found
        for path in (ROOT / package).rglob("*.py")
        if (found := imports(path) & FORBIDDEN[package])
    }
    assert not broken


@pytest.mark.parametrize("path", ["lobmodels/ensemble/runtime.py", "lobmodels/features.py"])
def test_what_travels_needs_numpy_alone(path: str) -> None:
    """The files copied into a submission import the standard library and numpy; numba only where it is installed."""
    assert imports(ROOT / path) <= set(sys.stdlib_module_names) | {"numpy", "numba"}


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
