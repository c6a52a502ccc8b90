"""From a study's finished runs to the members of an ensemble: which runs, how many, and what each weighs."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lobmodels.metric import metric_of
from search.errors import SearchError
from search.ship.best import Alike, best_runs
from search.study.open import SEEDS, load_study, open_study, schema_of, spec_of
from search.study.plugins import require_code
from search.study.ranking import is_replicate
from search.study.replication import find_replicates, rank_study
from search.study.retention import by_value
from search.study.runs import Run, finished_runs, load_checkpoint, nothing_complete, refit_runs
from storage.optuna_internals import storage_of

if TYPE_CHECKING:
    import optuna

    from lobmodels.checkpoint import Checkpoint

DEFAULT_TOP = 10
DEFAULT_BEST = 20  # the average of fewer is taken where more are not expected to add anything
DEFAULT_CONFIGURATIONS, DEFAULT_SEEDS = 5, 4  # of refits, and where the metric is no correlation
MEMBER = re.compile(r"(?:(?P<study>[^#]*)#)?(?P<number>[0-9]+)")


@dataclass(frozen=True)
class Choice:
    """How members are chosen, one of five ways:

    - at most `best` runs whose average is expected to score best on new data (the default, with `best` 20);
    - the best `configurations`, each with at most `seeds` of its runs (the default for refits and, once something was
      repeated, where the data's metric is no correlation);
    - the `top` single runs with the highest scores, at most `per_config` of one configuration;
    - for each target as many of the runs that are best on it as `by_target` says;
    - the runs named in `members`.

    With `refit` the first way takes the configurations' refits, those `with_report` or the others.
    """

    top: int | None = None
    per_config: int | None = None
    members: tuple[str, ...] = ()
    best: int | None = None
    configurations: int | None = None
    seeds: int | None = None
    by_target: tuple[int, ...] = ()
    refit: bool = False
    with_report: bool = False

    def ways(self) -> list[str]:
        """The ways that are asked for, as options."""
        asked = {
            "--best": self.best is not None,
            "--configurations": self.configurations is not None or self.seeds is not None or self.refit,
            "--top": self.top is not None or self.per_config is not None,
            "--top-t0": bool(self.by_target),
            "--members": bool(self.members),
        }
        return [name for name, given in asked.items() if given]


def candidates(study: optuna.Study) -> list[Run]:
    """Validated runs that can be members: complete, with weights that are kept, replicates included; best on selection
    first.

    Raises `SearchError` where there is none.
    """
    found = [study, find_replicates(study)]
    runs = [run for part in found if part is not None for run in _kept_runs(part)]
    if not runs:
        raise SearchError(nothing_complete(study))
    return sorted(runs, key=lambda run: (-run.value, run.study, run.number))


def choose(study: optuna.Study, choice: Choice, alike: Alike | None = None) -> list[Run]:
    """The runs of `choice`, best first or in the order named; `alike` measures how runs' predictions correlate.

    Raises `SearchError` where they are not there.
    """
    ways = choice.ways()
    if len(ways) > 1:
        raise SearchError(f"{' and '.join(ways)} are different ways to choose members; give one of them")
    if choice.refit:
        return _best_configurations(study, _refits(study, choice), choice)
    runs = candidates(study)
    if choice.members:
        return _named([*runs, *_all_refits(study)], choice.members, study.study_name)
    if choice.by_target:
        return _best_by_target(runs, choice.by_target, study)
    correlates = metric_of(schema_of(study)).correlates
    if ways == ["--best"] or (not ways and correlates):
        return _expected_best(study, runs, choice.best or DEFAULT_BEST, alike)
    if ways == ["--configurations"] or (not ways and any(is_replicate(run) for run in runs)):
        return _best_configurations(study, runs, choice)
    return _best_runs(study, runs, choice)


def _expected_best(study: optuna.Study, runs: list[Run], most: int, alike: Alike | None) -> list[Run]:
    schema = schema_of(study)
    if not metric_of(schema).correlates:
        raise SearchError(
            f"--best expects a score that is a correlation, and the data's metric is {schema.metric}: use --top or "
            "--configurations"
        )
    return best_runs(study, runs, most, alike)


def _all_refits(study: optuna.Study) -> list[Run]:
    seeds = find_replicates(study)
    return [] if seeds is None else [run for run in refit_runs(seeds) if run.checkpoint is not None]


def _refits(study: optuna.Study, choice: Choice) -> list[Run]:
    """The refits of a study. Raises `SearchError` where there is none of this kind."""
    orders = [(run, run.refit) for run in _all_refits(study) if run.refit is not None]
    found = [run for run, order in orders if order.with_report == choice.with_report]
    if not found:
        kind = " --with-report" if choice.with_report else ""
        raise SearchError(
            f"study {study.study_name!r} has no complete refit of this kind: lobtuna refit {study.study_name}{kind}, "
            f"then lobtuna work {study.study_name}"
        )
    return found


def _best_runs(study: optuna.Study, runs: list[Run], choice: Choice) -> list[Run]:
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


def _best_configurations(study: optuna.Study, runs: list[Run], choice: Choice) -> list[Run]:
    """The runs of the configurations that rank first. A configuration's runs are taken in the order of their seeds and
    folds, not of their scores: its luckiest ones are no better as members."""
    by_key: dict[str, list[Run]] = {}
    for run in sorted(runs, key=lambda run: (is_replicate(run), run.seed, run.fold or 0, run.number)):
        by_key.setdefault(run.key, []).append(run)
    keys = [row.key for row in rank_study(study).rows if row.key in by_key]
    count = choice.configurations or min(DEFAULT_CONFIGURATIONS, len(keys))
    if count > len(keys):
        raise SearchError(
            f"--configurations {count}: study {study.study_name!r} has {len(keys)} with stored weights; take them all "
            f"with --configurations {len(keys)}, or finish more: lobtuna work {study.study_name}"
        )
    seeds = choice.seeds or max(DEFAULT_SEEDS, spec_of(study).validation.count or 0)  # each fold once, where there are
    return [run for key in keys[:count] for run in by_key[key][:seeds]]


def _best_by_target(runs: list[Run], counts: Sequence[int], study: optuna.Study) -> list[Run]:
    """The best runs on each target, each run once; runs for the first target come first."""
    name, targets = study.study_name, schema_of(study).targets
    if len(targets) != len(counts):
        raise SearchError(
            f"--top-t0 and --top-t1 choose members for two targets; the data of study {name!r} has {len(targets)}: use "
            "--top"
        )
    scored = [run for run in runs if all(target in run.select for target in targets)]
    for j, (target, count) in enumerate(zip(targets, counts, strict=True)):
        if count > len(scored):
            raise SearchError(
                f"--top-t{j} {count}: study {name!r} has {len(scored)} runs with weights and scores on {target}; "
                f"take {len(scored)} or fewer, or finish more: lobtuna work {name}"
            )
    best = [_best_on(scored, target)[:count] for target, count in zip(targets, counts, strict=True)]
    return list({run.name: run for part in best for run in part}.values())


def weights_by_target(runs: Sequence[Run], counts: Sequence[int], targets: Sequence[str]) -> NDArray[np.float64]:
    """(K, targets): for each target equal weights of the `counts` runs that are best on it, 0 for the others."""
    weights = np.zeros((len(runs), len(counts)))
    for j, (name, count) in enumerate(zip(targets, counts, strict=True)):
        for run in _best_on(runs, name)[:count]:
            weights[runs.index(run), j] = 1 / count
    return weights


def _best_on(runs: Sequence[Run], target: str) -> list[Run]:
    return sorted(runs, key=lambda run: (-run.select[target], run.study, run.number))


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


def stored_members(
    url: str, names: Sequence[str], plugins: Sequence[Path] = (), trust_plugins: bool = False
) -> dict[str, Checkpoint]:
    """The stored checkpoints of the runs that a submission names as its members.

    Raises `SearchError` where the database holds no such run with weights, and as `require_code` does.
    """
    studies: dict[str, list[str]] = {}
    for name in names:
        studies.setdefault(name.rpartition("#")[0].removesuffix(SEEDS), []).append(name)
    found: dict[str, Checkpoint] = {}
    for study_name, members in studies.items():
        study = open_pool(url, study_name)
        require_code(study, plugins, trust_plugins)
        runs = choose(study, Choice(members=tuple(members)))
        found |= {member.name: member for member in load_members(study, runs)}
    return found


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
