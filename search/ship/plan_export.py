"""The last phase of a study's plan: the runs whose average is expected to score best, as one submission."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from lobmodels.ensemble.bundle import SIZE_LIMIT_MB
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
    where there is nothing to export yet, or where it was done before. Raises `SearchError` for a study without a
    complete run, `BundleError` where `output` exists.
    """
    study = open_study(url, name)
    plan = EnsemblePlan.of(study.user_attrs)
    if plan is None:
        raise SearchError(f"study {name!r} has no plan: start it with lobtuna run FILE --plan ensemble")
    phase = phase_of(plan, attempts(study))
    if phase not in ("export", "done") or (phase == "done" and Path(plan.exported).is_file() and not force):
        return describe_plan(plan, attempts(study))
    if not plan.chosen:
        raise SearchError(nothing_complete(study))
    runs = choose(study, Choice(best=MEMBERS), Predictions(data).correlations)
    members = tuple(run.name for run in runs)
    (shipment,) = ship(url, name, Request(members=members, max_mb=SIZE_LIMIT_MB, force=force), output)
    replace(plan, exported=str(output.resolve())).store(study)
    return shipment
