"""One study: its runs as a table, its best, its figures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, overload

from lobtuna.shown import Shown
from lobtuna.table import Table, shown

if TYPE_CHECKING:
    import optuna
    from plotly.graph_objects import Figure

    from search.report.record import Study as Record
    from search.study.record import TrialRecord
    from search.study.runs import Run as StoredRun
    from search.study.status import Status
    from search.studyfile.spec import StudySpec

ABOUT = ("run", "study", "trial", "state", "score")  # then the scores by target, then these
ORIGIN = ("seed", "best_epoch", "epochs_trained", "seconds", "configuration_key", "repeats")


@dataclass(frozen=True, repr=False)
class Run(Shown):
    """A finished run: `run.score` (mean on the selection sequences), `run.configuration`, `run.seed`, `run.stored`.

    `lobtuna.load(run)` fetches its weights.
    """

    stored: StoredRun
    url: str

    @property
    def name(self) -> str:
        """STUDY#NUMBER, as in tables and in `--members`."""
        return self.stored.name

    @property
    def score(self) -> float:
        """Mean weighted Pearson of the best epoch on the selection sequences."""
        return self.stored.value

    @property
    def seed(self) -> int:
        """The seed that it was trained under."""
        return self.stored.seed

    @property
    def configuration(self) -> dict[str, Any]:
        """The values of every parameter that mean something in it."""
        return self.stored.configuration

    @property
    def summary(self) -> str:
        """Name, score and seed."""
        return f"{self.name}: {shown(self.score)} on the selection sequences, seed {self.seed}"

    def table(self) -> Table:
        """One line a parameter."""
        return Table(self.name, ("parameter", "value"), list(self.configuration.items()))


class Runs(Shown, Sequence[Run]):
    """Runs of a study, best first. A sequence of `Run`; `.arrow()`, `.pandas()` and `.polars()` are its table."""

    def __init__(self, name: str, runs: Sequence[Run], targets: Sequence[str]) -> None:
        self.name, self._runs, self.targets = name, tuple(runs), tuple(targets)

    @overload
    def __getitem__(self, index: int) -> Run: ...
    @overload
    def __getitem__(self, index: slice) -> Runs: ...
    def __getitem__(self, index: int | slice) -> Run | Runs:
        return Runs(self.name, self._runs[index], self.targets) if isinstance(index, slice) else self._runs[index]

    def __len__(self) -> int:
        return len(self._runs)

    def __iter__(self) -> Iterator[Run]:
        return iter(self._runs)

    @property
    def summary(self) -> str:
        """How many runs of which study."""
        return f"{len(self)} runs of {self.name}, the best on the selection sequences first"

    def table(self) -> Table:
        """One line a run; every parameter is a column, empty where it means nothing in that run."""
        parameters = dict.fromkeys(name for run in self for name in run.configuration)
        scores = (*self.targets, "mean")
        rows = [(*_values(run.stored, scores), *(run.configuration.get(name) for name in parameters)) for run in self]
        parts = [f"{part}_{name}" for part in ("select", "report") for name in scores]
        return Table(f"runs of {self.name}", (*ABOUT, *parts, *ORIGIN, *parameters), rows)

    def arrow(self) -> Any:
        """`table().arrow()`."""
        return self.table().arrow()

    def pandas(self) -> Any:
        """`table().pandas()`."""
        return self.table().pandas()

    def polars(self) -> Any:
        """`table().polars()`."""
        return self.table().polars()


class Study(Shown):
    """A study as it is stored now; every call reads it again. `lobtuna.open(url)["joint"]` is one.

    Raises `StudyNotFoundError` where there is none, `SearchError` for one that lobtuna did not create.
    """

    def __init__(self, url: str, name: str) -> None:
        from search.study.named import open_searched

        self.url = url
        self.optuna: optuna.Study = open_searched(url, name)
        self.name: str = self.optuna.study_name

    @property
    def spec(self) -> StudySpec:
        """The study file, typed."""
        from search.study.open import spec_of

        return spec_of(self.optuna)

    def status(self) -> Status:
        """Trials by state, workers, budget, failures."""
        from search.study.status import status_of

        return status_of(self.optuna)

    def runs(self, *, pruned: bool = False, replicates: bool = True) -> Runs:
        """Complete runs, the best first: with `pruned` also those, without `replicates` only the search's own."""
        from search.study.open import schema_of
        from search.study.replication import find_replicates
        from search.study.runs import finished_runs

        seeds = find_replicates(self.optuna) if replicates else None
        found = [
            run for study in (self.optuna, seeds) if study is not None for run in finished_runs(study, pruned=pruned)
        ]
        found.sort(key=lambda run: (-run.value, run.study, run.number))
        return Runs(self.name, [Run(run, self.url) for run in found], schema_of(self.optuna).targets)

    @overload
    def best(self) -> Run: ...
    @overload
    def best(self, count: int) -> Runs: ...
    def best(self, count: int | None = None) -> Run | Runs:
        """The run with the highest score on the selection sequences, or the `count` best of them.

        One seed proves little: `lobtuna.rank` compares configurations. Raises `SearchError` where no run is complete.
        """
        from search.errors import SearchError
        from search.study.runs import nothing_complete

        runs = self.runs()
        if not runs:
            raise SearchError(nothing_complete(self.optuna))
        return runs[0] if count is None else runs[:count]

    def run(self, name: int | str) -> Run:
        """The complete run of trial 3, or of `"joint.seeds#0"`. Raises `SearchError` where there is none."""
        from search.errors import SearchError

        full = f"{self.name}#{name}" if isinstance(name, int) else name
        found = {run.name: run for run in self.runs()}
        if full not in found:
            known = ", ".join(list(found)[:8]) or "none yet"
            raise SearchError(f"study {self.name!r} has no complete run {full}; there are {known}")
        return found[full]

    def plot_progress(self) -> Figure:
        """Every run that ended, and the best score so far."""
        from search.report.progress import trials_figure

        return _figure(trials_figure(self._record()))

    def plot_curves(self) -> Figure:
        """Score over epochs, of every run."""
        from search.report.learning import curves_figure

        return _figure(curves_figure(self._record()))

    @property
    def summary(self) -> str:
        """Its question, or its name."""
        question = self.spec.question
        return f"{self.name}: {question}" if question else self.name

    def table(self) -> Table:
        """One line a trial, whatever its state."""
        record = self._record()
        searched = list(record.searched)
        rows = [(*_trial(t), *(t.configuration.get(name) for name in searched)) for t in record.trials]
        return Table(self.name, ("trial", "state", "score", "epochs_trained", "seconds", "seed", *searched), rows)

    def _record(self) -> Record:
        from search.report.record import read_study

        return read_study(self.optuna)


def _figure(spec: dict[str, Any]) -> Figure:
    from plotly.graph_objects import Figure

    return Figure(spec)


def _values(run: StoredRun, names: Sequence[str]) -> tuple[Any, ...]:
    """One cell for each of `ABOUT`, for each score by its name on both parts, and for each of `ORIGIN`."""
    scores = [part.get(name) for part in (run.select, run.report) for name in names]
    about = (run.name, run.study, run.number, run.state, run.value)
    return (*about, *scores, run.seed, run.best_epoch, run.epochs, run.seconds, run.key, run.parent)


def _trial(trial: TrialRecord) -> tuple[Any, ...]:
    return trial.number, trial.state, trial.value, trial.epochs, trial.seconds, trial.seed
