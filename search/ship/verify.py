"""Verifies a submission before it is sent: what `verify` and Python users call, without printing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from lobmodels.ensemble.bundle import read_submission
from lobmodels.scoring import verify as checking
from lobmodels.scoring.verify import Check
from search.ship.members import stored_members
from search.ship.score import validation_of
from search.study.plugins import load_plugins


@dataclass(frozen=True)
class Verified:
    """Every check of a submission, failed ones included."""

    path: Path
    checks: tuple[Check, ...]

    @property
    def ok(self) -> bool:
        """Whether all checks passed."""
        return all(check.ok for check in self.checks)

    @property
    def failed(self) -> list[str]:
        """The checks that did not pass, each with its step."""
        return [f"{check.name} ({check.backend})" for check in self.checks if not check.ok]

    @property
    def weights_checked(self) -> bool:
        """Whether the weights could be compared; not those of an older lobtuna's zip without its database."""
        return any(check.name == "weights" for check in self.checks)


def verify(
    path: Path,
    data: Path,
    *,
    sequences: int = 2,
    storage: str | None = None,
    plugins: Sequence[Path] = (),
    trust_plugins: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Verified:
    """Compare the submission at `path`, row by row in its own process, with the trained networks on `sequences` whole
    sequences of `data`; and with `storage`, its weights with the stored checkpoints. `plugins` are the files of
    networks that lobtuna does not have; with `trust_plugins` those that the study in `storage` stores are run.

    Raises `BundleError` for a zip that lobtuna did not write or that was changed, `ScoringError` where it breaks a rule
    of the challenge, `SearchError` where the database does not hold its runs.
    """
    if plugins:
        load_plugins(plugins)
    valid = validation_of(data)
    stored = None
    if storage is not None:
        stored = stored_members(storage, read_submission(path).runs, plugins, trust_plugins)
    return Verified(path, tuple(checking.verify(path, valid, sequences, progress, stored)))
