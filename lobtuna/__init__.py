"""lobtuna in Python: open studies, look at their runs, train, rank, export, predict. `docs/python.md` shows each name.

    import lobtuna

    study = lobtuna.open("sqlite:///lobtuna.db")["joint"]
    study.runs().pandas()
    lobtuna.load(study.best()).predict(x)

Nothing heavy is imported before a name that needs it is used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from lobtuna.own import require_own_packages

require_own_packages()

if TYPE_CHECKING:
    from lobtuna.commands import create, export, plugin, rank, refit, replicate, score, verify, work
    from lobtuna.database import Database, open, studies
    from lobtuna.errors import EXPECTED
    from lobtuna.model import Model, load, train
    from lobtuna.results import Created, Exported, Ranked, Refitted, Replicated, Scored, Verified, Worked
    from lobtuna.study import Run, Runs, Study
    from lobtuna.submission import Submission
    from lobtuna.table import Table

__all__ = [
    "open",
    "studies",
    "Database",
    "Study",
    "Runs",
    "Run",
    "create",
    "work",
    "replicate",
    "refit",
    "rank",
    "export",
    "score",
    "verify",
    "plugin",
    "load",
    "train",
    "Model",
    "Submission",
    "Created",
    "Worked",
    "Replicated",
    "Refitted",
    "Ranked",
    "Exported",
    "Scored",
    "Verified",
    "Table",
    "EXPECTED",
]

MODULES = {
    "commands": ("create", "work", "replicate", "refit", "rank", "export", "score", "verify", "plugin"),
    "database": ("open", "studies", "Database"),
    "study": ("Study", "Runs", "Run"),
    "model": ("load", "train", "Model"),
    "submission": ("Submission",),
    "results": ("Created", "Worked", "Replicated", "Refitted", "Ranked", "Exported", "Scored", "Verified"),
    "table": ("Table",),
    "errors": ("EXPECTED",),
}
HOME = {name: module for module, names in MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    """Import the module of a public name. Raises `AttributeError` for any other."""
    if name not in HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(__all__)}")
    return getattr(import_module(f"lobtuna.{HOME[name]}"), name)


def __dir__() -> list[str]:
    """The public names, those that are not imported yet included."""
    return sorted(__all__)
