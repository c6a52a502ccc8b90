"""The last phase of a study's plan: the runs whose average is expected to score best, as one submission."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from lobmodels.ensemble.bundle import SIZE_LIMIT_MB
from lobmodels.files import writable_folder
from search.errors import SearchError
from search.ship.export import Request, Shipment, ship
from search.ship.gains import Predictions
from search.ship.members import Choice, choose
from search.study.open import open_study
from search.study.plan import MEMBERS, EnsemblePlan, attempts, describe_plan, phase_of
from search.study.runs import nothing_complete

if TYPE_CHECKING:
    from lobmodels.data import Sequences


def export_plan(url: str, name: str, data: Sequences, output: Path, *, force: bool = False) -> Shipment | str:
    """Write the submission of study `name`, whose plan has come to its export, and store that it was written.

    `data` are sequences on which the members' predictions are compared; no target is read. Returns the phase in words
    where there is nothing to export yet, or where it was done before: of several commands that export into one folder
    at once, the first does and the others wait for it. Raises `SearchError` for a study without a complete run,
    `BundleError` where `output` exists.
    """
    writable_folder(output.parent)
    with _alone_in(output.parent):
        study = open_study(url, name)
        plan, replicates = EnsemblePlan.of(study.user_attrs), attempts(study)
        if plan is None:
            raise SearchError(f"study {name!r} has no plan: start it with lobtuna run FILE --plan ensemble")
        if phase_of(plan, replicates) not in ("export", "done") or (_is_here(plan, output) and not force):
            return describe_plan(plan, replicates)
        if not plan.chosen:
            raise SearchError(nothing_complete(study))
        runs = choose(study, Choice(best=MEMBERS), Predictions(data).correlations)
        members = tuple(run.name for run in runs)
        (shipment,) = ship(url, name, Request(members=members, max_mb=SIZE_LIMIT_MB, force=force), output)
        replace(plan, exported=plan.exported or str(output.resolve())).store(study)
        return shipment


def _is_here(plan: EnsemblePlan, output: Path) -> bool:
    """Whether the submission was exported to a file of this machine, or was exported and `output` is here."""
    return bool(plan.exported) and (Path(plan.exported).is_file() or output.is_file())


@contextlib.contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Inside, no other process of this machine exports a plan into `folder`. The lock ends with the process."""
    import fcntl  # not on Windows, where no worker runs either

    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
