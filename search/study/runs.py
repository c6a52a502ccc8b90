"""Opens studies and reads their finished runs: what every command that comes after the search starts from."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from lobmodels.config import RunConfig
from search.errors import SearchError, StudyNotFoundError
from search.study.samplers import build_pruner, build_sampler
from search.studyfile.spec import StudySpec
from storage.backends.database import PATIENCE, open_storage
from storage.claims import REASON
from storage.url import parse_url, redact

if TYPE_CHECKING:
    from optuna.storages import BaseStorage

    from lobmodels.checkpoint import Checkpoint

SEEDS = ".seeds"  # the study of a study's replicates has its name and this suffix
IMPORTED = "imported_from"  # trial user attribute: "STUDY#NUMBER" of the trial that this one is a copy of


@dataclass(frozen=True)
class Run:
    """A finished trial as one run: configuration, seed, scores. `scores` are mean weighted Pearson correlations."""

    study: str
    number: int
    trial_id: int
    state: str  # "complete" or "pruned"
    value: float  # best epoch's mean on the selection sequences
    seed: int
    configuration: dict[str, Any]  # active values
    key: str
    select: dict[str, float]  # t0, t1, mean; empty for a pruned run
    report: dict[str, float]  # likewise, on sequences that selection never sees; empty if there are none
    best_epoch: int | None
    epochs: int
    seconds: float
    checkpoint: str | None  # artifact id
    parent: int | None  # of a replicate: number of the trial in the parent study

    @property
    def name(self) -> str:
        """How the run is called in tables and files: STUDY#NUMBER."""
        return f"{self.study}#{self.number}"

    @property
    def config(self) -> RunConfig:
        """The configuration, typed."""
        return RunConfig.parse(self.configuration)


def open_study(url: str, name: str) -> optuna.Study:
    """The study `name` with its own sampler and pruner.

    Raises `StudyNotFoundError` with close names, and `SearchError` for a study that lobtuna did not create.
    """
    return load_study(existing_storage(url, name), name, redact(url))


def existing_storage(url: str, name: str | None = None, *, patience: float = PATIENCE) -> BaseStorage:
    """`open_storage(url)`, but a database file that is not there is an error and is not created.

    `name` is the study that is looked for; None where it is any.
    """
    path = parse_url(url).path
    if path is not None and not path.exists():
        what = "no study" if name is None else f"no study {name!r}"
        raise StudyNotFoundError(
            f"{what}: there is no database {path}; create it with "
            f"lobtuna create STUDY.yaml --storage {redact(url)}, or name another with --storage"
        )
    return open_storage(url, patience=patience)


def load_study(storage: BaseStorage, name: str, where: str = "the database") -> optuna.Study:
    """`open_study` on a storage that is open already. `where` names it in errors."""
    try:
        study = optuna.load_study(study_name=name, storage=storage)
    except KeyError:
        raise StudyNotFoundError(_no_study(name, study_names(storage), where)) from None
    spec = spec_of(study)
    study.sampler, study.pruner = build_sampler(spec), build_pruner(spec)
    return study


def study_names(storage: BaseStorage) -> list[str]:
    """Names of all studies, oldest first."""
    studies = sorted(storage.get_all_studies(), key=lambda study: study._study_id)
    return [study.study_name for study in studies]


def revisions(storage: BaseStorage, name: str) -> list[str]:
    """Names of the study and its revisions that are there, oldest first."""
    pattern = re.compile(rf"{re.escape(name)}(@[0-9]+)?")
    found = [study for study in study_names(storage) if pattern.fullmatch(study)]
    return sorted(found, key=lambda study: int(study.partition("@")[2] or 1))


def spec_of(study: optuna.Study) -> StudySpec:
    """The spec that `create` stored in the study. Raises `SearchError` where there is none."""
    document = study.user_attrs.get("spec")
    if document is None:
        raise SearchError(
            f"study {study.study_name!r} was not created by lobtuna: it holds no definition; "
            "create one under another name with: lobtuna create STUDY.yaml"
        )
    return StudySpec.from_json(document, f"the stored definition of study {study.study_name!r}")


def finished_runs(study: optuna.Study, *, pruned: bool = False) -> list[Run]:
    """Complete runs by trial number; with `pruned`, those that were pruned as well."""
    states = (TrialState.COMPLETE, TrialState.PRUNED) if pruned else (TrialState.COMPLETE,)
    trials = study.get_trials(deepcopy=False, states=states)
    return [run_of(study.study_name, trial) for trial in trials if _usable(trial)]


def best_run(runs: Iterable[Run]) -> Run | None:
    """The complete run with the highest value; the earliest of equals."""
    complete = [run for run in runs if run.state == "complete"]
    return max(complete, key=lambda run: (run.value, -run.number), default=None)


def run_of(study_name: str, trial: FrozenTrial) -> Run:
    """View a finished trial as a run."""
    attrs = trial.user_attrs
    configuration = attrs["configuration"]
    return Run(
        study=study_name,
        number=trial.number,
        trial_id=trial._trial_id,
        state=trial.state.name.lower(),
        value=_value(trial),
        seed=int(attrs["seed"]),
        configuration=configuration,
        key=attrs.get("key") or RunConfig.parse(configuration).key(),
        select=_scores(attrs, "select"),
        report=_scores(attrs, "report"),
        best_epoch=attrs.get("best_epoch"),
        epochs=int(attrs.get("epochs", len(trial.intermediate_values))),
        seconds=float(attrs.get("seconds", 0.0)),
        checkpoint=attrs.get("checkpoint"),
        parent=attrs.get("parent"),
    )


def load_checkpoint(study: optuna.Study, run: Run | FrozenTrial, store: Any = None) -> Checkpoint:
    """The stored best weights of a run of `study`, from `store` or else from the study's own.

    Raises `SearchError` where the run has none, `ArtifactError` where the bytes are gone or corrupt.
    """
    from lobmodels.checkpoint import Checkpoint
    from storage.artifacts import artifacts_of, download

    if isinstance(run, FrozenTrial):
        run = run_of(study.study_name, run)
    if run.checkpoint is None:
        raise SearchError(
            f"run {run.name} ({run.state}) has no stored weights: only complete runs keep theirs; choose another run"
        )
    blob = download(store if store is not None else artifacts_of(study), run.checkpoint)
    return Checkpoint.from_bytes(blob, f"the checkpoint of {run.name}")


def _value(trial: FrozenTrial) -> float:
    if trial.state == TrialState.COMPLETE:
        return float(trial.value) if trial.value is not None else math.nan
    # Optuna gives a pruned trial its last epoch's value; its best one is what complete runs are given.
    return max(trial.intermediate_values.values(), default=math.nan)


def _usable(trial: FrozenTrial) -> bool:
    return math.isfinite(_value(trial)) and "configuration" in trial.user_attrs


def _scores(attrs: dict[str, Any], split: str) -> dict[str, float]:
    names = {part: f"{split}_{part}" for part in ("t0", "t1", "mean")}
    return {part: float(attrs[name]) for part, name in names.items() if attrs.get(name) is not None}


def _no_study(name: str, known: list[str], where: str) -> str:
    shown = [study for study in known if not study.endswith(SEEDS)]
    close = difflib.get_close_matches(name, shown, n=3, cutoff=0.5)
    if close:
        hint = f"did you mean {' or '.join(close)}?"
    elif shown:
        more = f" and {len(shown) - 10} more" if len(shown) > 10 else ""
        hint = f"there are: {', '.join(shown[-10:])}{more}"
    else:
        hint = "it holds no study yet: lobtuna create STUDY.yaml"
    return f"no study {name!r} in {where}; {hint}"


def nothing_complete(study: optuna.Study) -> str:
    """Why there is nothing to rank, repeat or export, and what to do about it."""
    trials = study.get_trials(deepcopy=False)
    failed = [trial for trial in trials if trial.state == TrialState.FAIL]
    words = f"study {study.study_name!r} has no complete run"
    if failed and not any(trial.state in (TrialState.RUNNING, TrialState.WAITING) for trial in trials):
        reason = failed[-1].user_attrs.get(REASON, "no reason was recorded")
        return (
            f"{words}, {len(failed)} failed, the last because: {reason}; mend that, or change the space with lobtuna "
            "create FILE --revise"
        )
    return f"{words} yet: lobtuna work {study.study_name}"
