"""What the functions return: the typed results that the commands print, which show themselves in a notebook."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lobtuna.shown import Shown
from lobtuna.table import Table, shown

if TYPE_CHECKING:
    from pathlib import Path

    from plotly.graph_objects import Figure

    from lobtuna.study import Study
    from search.ship.export import Shipment
    from search.ship.score import Scored as ScoredSubmissions
    from search.ship.verify import Verified as VerifiedSubmission
    from search.study.named import Refitted as QueuedRefits
    from search.study.named import Repeated, StudyRanking
    from search.study.ranking import RankedConfiguration
    from search.work.options import WorkSummary


@dataclass(frozen=True, repr=False)
class Created(Shown):
    """What `create` did. `existed`: the study was there already as described, or nothing had to be revised."""

    study: Study
    existed: bool
    previous: str | None = None  # with `revise`: the revision before this one
    changes: dict[str, tuple[Any, Any]] | None = None  # with `revise`: old and new value of what differs
    imported: int = 0  # with `revise`: trials that were taken over

    @property
    def summary(self) -> str:
        """The study, and whether it is new."""
        if self.previous is not None and self.previous != self.study.name:
            return f"{self.study.name} follows {self.previous} with {self.imported} of its trials"
        return f"{self.study.name} {'was there already' if self.existed else 'is in the database'}"

    def table(self) -> Table:
        """One line a parameter of the space."""
        rows = [(name, str(parameter)) for name, parameter in self.study.spec.parameters.items()]
        return Table("parameters", ("parameter", "values"), rows)


@dataclass(frozen=True, repr=False)
class Worked(Shown):
    """What `work` did here: `outcomes` counts trials by how they ended, `stopped` says why it ended."""

    study: Study
    done: WorkSummary

    @property
    def outcomes(self) -> dict[str, int]:
        """Trials that ended here, by how they did."""
        return self.done.outcomes

    @property
    def stopped(self) -> str:
        """Why work ended."""
        return self.done.stopped

    @property
    def summary(self) -> str:
        """How many trials, and why no more."""
        return f"{self.done.trials} trials of {self.study.name} ended here; {self.stopped}"

    def table(self) -> Table:
        """One line an outcome."""
        return Table("outcomes", ("outcome", "trials"), list(self.outcomes.items()))


@dataclass(frozen=True, repr=False)
class Replicated(Shown):
    """What `replicate` queued. `repeated` holds all of it."""

    repeated: Repeated

    @property
    def queued(self) -> int:
        """Replicates that are new in the queue."""
        return self.repeated.queued.queued

    @property
    def summary(self) -> str:
        """How many were queued, how many were there."""
        found = self.repeated.queued
        return (
            f"{self.repeated.study.study_name}.seeds: {found.queued} queued, {found.present} there already, "
            f"{found.failed} failed before"
        )

    def table(self) -> Table:
        """One line a configuration that is repeated: its best search run."""
        rows = [(run.number, run.value, self.repeated.seeds, run.key) for run in self.repeated.queued.chosen]
        return Table("repeated", ("trial", "score", "runs", "configuration_key"), rows)


@dataclass(frozen=True, repr=False)
class Refitted(Shown):
    """What `refit` queued. `found.ordered.orders` say for each configuration how long it is trained, and why."""

    found: QueuedRefits

    @property
    def queued(self) -> int:
        """Refits that are new in the queue."""
        return self.found.ordered.queued

    @property
    def summary(self) -> str:
        """How many were queued, how many were there, and what is given up."""
        done = self.found.ordered
        given_up = "; they train on the report sequences too: nothing is left to judge them by"
        return (
            f"{self.found.study.study_name}.seeds: {done.queued} refits queued, {done.present} there already, "
            f"{done.failed} failed before{given_up if self.found.with_report else ''}"
        )

    def table(self) -> Table:
        """One line a configuration: its search trial, and the epochs that its earlier runs took, in the median."""
        done = self.found.ordered
        rows = [
            (row.trial, order.epochs, len(order.runs), self.found.seeds, row.key)
            for row, order in zip(done.chosen, done.orders, strict=True)
        ]
        return Table("refits", ("trial", "epochs", "earlier_runs", "refits", "configuration_key"), rows)


@dataclass(frozen=True, repr=False)
class Ranked(Shown):
    """The configurations of a study, the best first. `ranked.ranking.rows` are typed."""

    found: StudyRanking

    @property
    def rows(self) -> tuple[RankedConfiguration, ...]:
        """The configurations, best first."""
        return self.found.ranking.rows

    @property
    def summary(self) -> str:
        """How many configurations, and how many were repeated."""
        repeated = len(self.found.ranking.repeated)
        advice = "" if repeated else ": this order is mostly luck; repeat the best with lobtuna.replicate"
        return f"{self.found.study}: {len(self.rows)} configurations, {repeated} repeated{advice}"

    def table(self) -> Table:
        """One line a configuration; the parameters in which they differ are columns."""
        from search.study.ranking import varying

        names = varying(self.rows)
        rows = [
            (i, r.trial, r.n, r.estimate, r.low, r.high, r.probability_best, r.mean, r.best_run.value,
             None if r.report is None else r.report[0], *(r.configuration.get(name) for name in names))
            for i, r in enumerate(self.rows, 1)
        ]  # fmt: skip
        head = ("rank", "trial", "runs", "estimate", "low", "high", "probability_best", "mean", "best_run", "report")
        return Table(f"ranking of {self.found.study}", (*head, *names), rows)

    def plot(self, count: int = 12) -> Figure:
        """The `count` best repeated configurations with their runs and intervals. Raises `SearchError` where none was
        repeated."""
        from plotly.graph_objects import Figure

        from search.errors import SearchError
        from search.report.seeds import ranking_figure

        repeated = self.found.ranking.repeated
        if not repeated:
            name = self.found.study
            raise SearchError(f"no configuration of {name!r} was repeated: lobtuna.replicate({name!r}), then work")
        return Figure(ranking_figure(repeated[:count]))


@dataclass(frozen=True, repr=False)
class Exported(Shown):
    """The submissions that `export` wrote, one unless `candidates` was asked for."""

    shipments: tuple[Shipment, ...]

    @property
    def path(self) -> Path:
        """The first zip."""
        return self.shipments[0].path

    @property
    def remarks(self) -> tuple[str, ...]:
        """What the command would say beside the table."""
        return tuple(remark for shipment in self.shipments for remark in shipment.remarks)

    @property
    def summary(self) -> str:
        """File, members, weights and size of each zip."""
        parts = [
            f"{s.path}: {len(s.bundle.members)} members, {s.weights} weights, {s.bytes / 1e6:.2f} MB"
            for s in self.shipments
        ]
        return "; ".join(parts)

    def table(self) -> Table:
        """One line a member of each zip."""
        rows = [
            (str(s.path), member.name, member.config.architecture, member.seed, *map(float, weight), member.score)
            for s in self.shipments
            for member, weight in zip(s.bundle.members, s.bundle.weights, strict=True)
        ]
        weights = tuple(f"weight_t{i}" for i in range(self.shipments[0].bundle.weights.shape[1]))
        return Table("members", ("submission", "run", "architecture", "seed", *weights, "select"), rows)


@dataclass(frozen=True, repr=False)
class Scored(Shown):
    """Scores as the challenge computes them. `found.scores` are typed, `found.comparison` where several were given."""

    found: ScoredSubmissions

    @property
    def mean(self) -> float:
        """Mean score over targets of the first submission, over all sequences."""
        return self.found.scores[0].overall.mean

    @property
    def problems(self) -> list[str]:
        """Limits of the challenge that would be broken, and scores that are not those promised at export."""
        return [f"{score.path}: {problem}" for score in self.found.scores for problem in score.problems()]

    @property
    def summary(self) -> str:
        """The score of each submission and what a step costs."""
        parts = [f"{s.path}: {s.overall.mean:.4f}, {s.us_per_step:.1f} us a step" for s in self.found.scores]
        return "; ".join([*parts, *self.problems])

    def table(self) -> Table:
        """One line a submission and part of the sequences."""
        rows = [
            (str(s.path), part.name, part.sequences, *part.scores.values(), part.mean)
            for s in self.found.scores
            for part in s.parts.values()
        ]
        targets = self.found.scores[0].schema.targets
        return Table("scores", ("submission", "part", "sequences", *targets, "mean"), rows)


@dataclass(frozen=True, repr=False)
class Verified(Shown):
    """Every check of a submission, failed ones included: look at `ok` before it is sent."""

    found: VerifiedSubmission

    @property
    def ok(self) -> bool:
        """Whether all checks passed."""
        return self.found.ok

    @property
    def summary(self) -> str:
        """The verdict."""
        verdict = "all checks passed" if self.ok else f"{', '.join(self.found.failed)} failed; do not send it"
        return f"{self.found.path}: {verdict}"

    def table(self) -> Table:
        """One line a check."""
        rows = [
            (check.name, check.backend, shown(check.difference), check.limit, check.ok) for check in self.found.checks
        ]
        return Table("checks", ("check", "step", "largest_difference", "allowed", "ok"), rows)
