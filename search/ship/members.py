"""From a study's finished runs to the members of an ensemble: which runs, how many, and what each weighs."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from search.errors import SearchError
from search.study.open import SEEDS, load_study, open_study, spec_of
from search.study.replication import find_replicates
from search.study.retention import by_value
from search.study.runs import Run, finished_runs, load_checkpoint, nothing_complete
from storage.optuna_internals import storage_of

if TYPE_CHECKING:
    import optuna

    from lobmodels.checkpoint import Checkpoint

DEFAULT_TOP = 10
MEMBER = re.compile(r"(?:(?P<study>[^#]*)#)?(?P<number>[0-9]+)")


@dataclass(frozen=True)
class Choice:
    """How members are chosen: the best `top` runs, at most `per_config` of one configuration; or those named.

    Without a number the best ten are taken, or all where there are fewer.
    """

    top: int | None = None
    per_config: int | None = None
    members: tuple[str, ...] = ()


def candidates(study: optuna.Study) -> list[Run]:
    """Runs that can be members: complete, with weights that are kept, replicates included; best on selection first.

    Raises `SearchError` where there is none.
    """
    found = [study, find_replicates(study)]
    runs = [run for part in found if part is not None for run in _kept_runs(part)]
    if not runs:
        raise SearchError(nothing_complete(study))
    return sorted(runs, key=lambda run: (-run.value, run.study, run.number))


def choose(study: optuna.Study, choice: Choice) -> list[Run]:
    """The runs of `choice`, best first or in the order named. Raises `SearchError` where they are not there."""
    runs = candidates(study)
    if choice.members:
        return _named(runs, choice.members, study.study_name)
    if choice.per_config is not None:
        runs = _per_configuration(runs, choice.per_config)
    top = choice.top or min(DEFAULT_TOP, len(runs))
    if top > len(runs):
        limited = "" if choice.per_config is None else f" at --per-config {choice.per_config}"
        raise SearchError(
            f"--top {top}: study {study.study_name!r} has {len(runs)} runs with weights{limited}; "
            f"take them all with --top {len(runs)}, or finish more: lobtuna work {study.study_name}"
        )
    return runs[:top]


def load_members(study: optuna.Study, runs: Sequence[Run]) -> list[Checkpoint]:
    """The checkpoints of `runs`, of the study or of its replicates, named as the runs are.

    Raises `ArtifactError` where the weights of one are gone.
    """
    studies = {study.study_name: study}
    members = []
    for run in runs:
        if run.study not in studies:
            studies[run.study] = load_study(storage_of(study), run.study)
        members.append(dataclasses.replace(load_checkpoint(studies[run.study], run), name=run.name))
    return members


def open_pool(url: str, name: str) -> optuna.Study:
    """The study `name`; its replicates' own name is understood as the study's."""
    return open_study(url, name.removesuffix(SEEDS))


def _kept_runs(study: optuna.Study) -> list[Run]:
    """Runs whose weights retention has left in the store."""
    kept = by_value(study.get_trials(deepcopy=False))[: spec_of(study).checkpoints.keep]
    numbers = {trial.number for trial in kept}
    return [run for run in finished_runs(study) if run.number in numbers]


def _per_configuration(runs: list[Run], limit: int) -> list[Run]:
    taken: Counter[str] = Counter()
    kept = []
    for run in runs:
        taken[run.key] += 1
        if taken[run.key] <= limit:
            kept.append(run)
    return kept


def _named(runs: list[Run], names: Sequence[str], study: str) -> list[Run]:
    by_name = {run.name: run for run in runs}
    found: dict[str, Run] = {}
    for name in names:
        match = MEMBER.fullmatch(name.strip())
        full = f"{match['study'] or study}#{match['number']}" if match else name
        if full not in by_name:
            offer = ", ".join(list(by_name)[:8]) + (f" and {len(by_name) - 8} more" if len(by_name) > 8 else "")
            raise SearchError(f"--members {name}: no run of that name has stored weights; there are {offer}")
        if full in found:
            raise SearchError(f"--members names {full} twice; name it once, and weigh it with --weights")
        found[full] = by_name[full]
    return list(found.values())
