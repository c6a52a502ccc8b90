"""Runs a plugin's source: a file that the user names, one of an installed package, or one that a study brought."""

from __future__ import annotations

import importlib.util
import sys
import traceback
from importlib.metadata import entry_points
from pathlib import Path

from lobmodels.data import cache_folder
from lobmodels.errors import PluginError
from lobmodels.files import write_atomically
from lobmodels.plugins.registering import PARTS, loading
from lobmodels.plugins.source import Source, digest_of

GROUPS = (
    "lobtuna.networks",
    "lobtuna.losses",
    "lobtuna.features",
    "lobtuna.metrics",
)  # entry points of installed packages
LARGEST = 200_000  # characters; a plugin is code, and its weights are trained


def is_loaded(source: Source) -> bool:
    """Whether this very source was run in this process."""
    known = [PARTS.get((part.kind, part.name)) for part in source.declarations]
    return all(part is not None and part.digest == source.digest for part in known)


def kept_file(source: Source) -> Path:
    """The source as a file of the cache, to be read by a person or run. It is not run by this."""
    path = cache_folder() / "plugins" / source.digest[:16] / source.file
    write_atomically(path, source.text)
    return path


def run(source: Source) -> None:
    """Run a source that came with a study. The caller has made sure that somebody trusts it. Raises `PluginError`."""
    _import(kept_file(source), source.text, source.file)


def load_file(path: Path | str) -> Source:
    """Run a plugin's file and say what it registered. Raises `PluginError` in one line for every mistake in it."""
    path = Path(path)
    if path.suffix != ".py":
        raise PluginError(f"{path}: a plugin is one Python file whose name ends in .py")
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise PluginError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise PluginError(f"{path} cannot be read as text: {error}") from None
    if len(text) > LARGEST:
        raise PluginError(
            f"{path} has {len(text):,} characters, more than {LARGEST:,}: a plugin travels with its study"
        )
    _import(path, text, path.name)
    return _source(path.name, text, str(path))


def load_entry_points() -> list[Source]:
    """Run the plugins of installed packages, each module once. Raises `PluginError` that names the package."""
    modules = dict.fromkeys((entry.module, entry.dist) for group in GROUPS for entry in entry_points(group=group))
    found = []
    for module, distribution in modules:
        where = f"{module}, of the installed package {distribution.name if distribution else '?'}"
        spec = importlib.util.find_spec(module)
        if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
            raise PluginError(f"plugin {where}: no such module in one Python file; install it again or remove it")
        found.append(load_file(spec.origin))
    return found


def _import(path: Path, text: str, shown: str) -> None:
    """Run the file as a module of its own. Every error of its own becomes one line with the line where it happened."""
    digest = digest_of(text)
    if any(part.digest == digest for part in PARTS.values()):
        return  # it was run before
    name = f"lobtuna_plugin_{digest[:16]}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        with loading(str(path.resolve()), digest):
            spec.loader.exec_module(module)
    except PluginError as error:
        raise PluginError(f"{shown}: {error}") from None
    except SyntaxError as error:
        raise PluginError(f"{shown}, line {error.lineno}: {error.msg}") from None
    except ImportError as error:
        raise PluginError(
            f"{shown}{_line(error, path)}: {error}; a plugin is one file and imports installed packages only"
        ) from None
    except Exception as error:  # whatever a user's file raises
        raise PluginError(f"{shown}{_line(error, path)}: {type(error).__name__}: {error}") from None
    finally:
        if not any(part.digest == digest for part in PARTS.values()):
            del sys.modules[name]


def _source(file: str, text: str, shown: str) -> Source:
    digest = digest_of(text)
    parts = tuple(part.declaration for part in PARTS.values() if part.digest == digest)
    if not parts:
        raise PluginError(
            f'{shown} registers nothing: put @network("NAME") from lobtuna.plugins before its class, or @loss("NAME"), '
            '@features("NAME", reads=[...], gives=[...]), @metric("NAME")'
        )
    return Source(file, text, parts)


def _line(error: BaseException, path: Path) -> str:
    """`, line N` of the file at which the error was raised, where it passed through it."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    return f", line {lines[-1]}" if lines else ""
