"""What the page of a profile says, part by part: a heading, a sentence, a figure, a table."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lobmodels.profile import figures
from lobmodels.profile.findings import shifted_columns
from lobmodels.profile.importance import RUN_SEQUENCES
from lobmodels.profile.ridge import TRAIN_SEQUENCES
from lobmodels.profile.tabulation import Table, tables
from lobmodels.profile.targets import LARGE

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from lobmodels.profile.importance import Importance
    from lobmodels.profile.measure import Profile


@dataclass(frozen=True)
class Section:
    """A heading, what it shows in words, and a figure, a table or both."""

    title: str
    text: str
    figure: go.Figure | None = None
    table: Table | None = None
    folded: str = ""  # summary of a table that is folded away


def sections(profile: Profile) -> Iterator[Section]:
    """All sections in the order of the page."""
    yield from _data_sections(profile)
    yield from _target_sections(profile)
    yield from _signal_sections(profile)


def _data_sections(profile: Profile) -> Iterator[Section]:
    yield Section(
        "Integrity",
        "Both files keep the challenge's format: every sequence is whole and in order, no value is NaN or inf, the "
        "scored rows are those that should be. Repeated sequences have the same features as an earlier one.",
        table=_integrity(profile),
    )
    yield Section(
        "Scale",
        "Mean and one standard deviation of each raw column over all rows, in train and in valid. Where the two "
        "differ, a model meets inputs in validation that it was not trained on.",
        figures.scale(profile),
        _columns(profile, ("train", "valid")),
        "Scale of all columns and derived features",
    )
    yield Section(
        "Shift from train to valid",
        f"KS distance, the largest gap between the two distributions, of the {figures.SHOWN} most shifted columns and "
        "derived features. The tick is what as many whole sequences drawn from train show against the rest of train: "
        "a bar that does not pass it is no evidence of a shift. Measured on evenly spaced rows.",
        figures.shift(profile),
        _shift_table(profile),
        "Shift of all columns and derived features",
    )


def _target_sections(profile: Profile) -> Iterator[Section]:
    yield Section(
        "Memory of the targets",
        "Autocorrelation of each target within a sequence, and of its size, over the lags. Slow decay of the size "
        "means calm and wild stretches; rows close together are then no independent evidence.",
        figures.autocorrelation(profile),
        _target_table(profile),
        "Distribution of the targets",
    )
    yield Section(
        "The targets together",
        f"Correlation of {profile.target_names[0]} in one row with {profile.target_names[-1]} some rows later or "
        "earlier. At zero it is their correlation in the same row.",
        figures.cross_correlation(profile),
    )
    yield Section(
        "Which rows the score listens to",
        "The metric weighs each scored row by the size of its target. The lines show which share of the weight lies on "
        "the heaviest rows, and on the heaviest whole sequences: the steeper, the fewer rows decide a score.",
        figures.concentration(profile),
    )
    yield Section(
        "Large moves come together",
        f"How much likelier than usual a large move is some events after another; large is among the {LARGE:.0%} of "
        "rows with the largest |target| of that file. One means no clustering.",
        figures.large_moves(profile),
    )


def _signal_sections(profile: Profile) -> Iterator[Section]:
    for k, name in enumerate(profile.target_names):
        yield Section(
            f"What goes along with {name}",
            f"Correlation with {name} over scored rows of the {figures.SHOWN} columns and derived features whose "
            "weighted correlation in train is strongest. Filled: weighted as the metric weighs. Open: plain. A column "
            "whose train and valid points lie far apart will not hold what it promises.",
            figures.correlations(profile, k),
            _correlation_table(profile, k),
            f"Correlation of every column with {name}",
        )
    yield Section(
        "A ridge on one row",
        "Mean weighted Pearson of a linear model that sees one row: the raw columns alone, with each group of derived "
        f"features, and with all. Fitted on all scored rows of train; scored on up to {TRAIN_SEQUENCES:,} train "
        "sequences and on all validation sequences. Errors are over resampled sequences; between models on the same "
        "sequences they are smaller.",
        figures.ridge_scores(profile),
        _ridge_table(profile),
        "Scores of the ridge models",
    )
    for name, items in profile.ridges.importance.items():
        yield Section(
            f"What the ridge leans on: {name}",
            f"How much the score on all validation sequences drops when a group's columns are taken from another row. "
            f"Groups that say the same share their importance. Ridge on {name}.",
            figures.importance(profile, items),
            _importance_table(profile, items),
            "Table of these drops",
        )
    if profile.run is not None:
        yield _run_section(profile)


def _run_section(profile: Profile) -> Section:
    run = profile.run
    assert run is not None
    return Section(
        f"What the run {run.name} leans on",
        f"How much the score of the trained run {run.name}, {run.scores.mean:.4f} ± {run.scores.mean_error:.4f} here, "
        f"drops when a group's columns are taken from another sequence. Asked on {run.sequences:,} {run.which}; at "
        f"most {RUN_SEQUENCES} are asked.",
        figures.importance(profile, run.importance),
        _importance_table(profile, run.importance),
        "Table of these drops",
    )


def _integrity(profile: Profile) -> Table:
    rows = [
        [f.path.name, f.sequences, f.rows, f.scored_rows, 0, f.repeated, f"{f.megabytes:,.1f}", f.fingerprint]
        for f in (profile.train, profile.valid)
    ]
    return Table(["file", "sequences", "rows", "scored rows", "NaN or inf", "repeated", "MB", "content"], rows)


def _columns(profile: Profile, parts: tuple[str, ...]) -> Table:
    heads = [f"{part} {moment}" for part in parts for moment in ("mean", "std", "min", "max")]
    rows = [[c.name, c.group, *(value for part in parts for value in getattr(c, part))] for c in profile.columns]
    return Table(["column", "group", *heads], rows)


def _shift_table(profile: Profile) -> Table:
    rows = [[c.name, c.group, c.ks, c.ks_chance, c.mean_shift] for c in shifted_columns(profile)]
    return Table(["column", "group", "KS", "KS by chance", "mean shift / std"], rows)


def _target_table(profile: Profile) -> Table:
    full = tables(profile)["targets"]
    turned = [[name, *(row[i] for row in full.rows)] for i, name in enumerate(full.columns) if i > 1]
    return Table(["", *(f"{row[0]} {row[1]}" for row in full.rows)], turned)


def _correlation_table(profile: Profile, k: int) -> Table:
    kinds = ("weighted_train", "weighted_valid", "plain_train", "plain_valid")
    rows = [[c.name, c.group, *(getattr(c, kind)[k] for kind in kinds)] for c in profile.columns]
    rows.sort(key=lambda row: -abs(row[2]))
    return Table(["column", "group", *(kind.replace("_", ", ") for kind in kinds)], rows)


def _ridge_table(profile: Profile) -> Table:
    heads = [f"{part} {name}" for part in ("train", "valid") for name in (*profile.target_names, "mean", "±")]
    rows = [
        [s.ridge.name, len(s.ridge.columns)]
        + [x for part in (s.train, s.valid) for x in (*map(float, part.values), part.mean, part.mean_error)]
        for s in profile.ridges.scores
    ]
    return Table(["model", "columns", *heads], rows)


def _importance_table(profile: Profile, items: list[Importance]) -> Table:
    heads = [x for name in (*profile.target_names, "mean") for x in (f"drop {name}", "±")]
    rows = []
    for item in items:
        pairs = [*zip(item.drop.values, item.drop.errors, strict=True), (item.drop.mean, item.drop.mean_error)]
        rows.append([item.group, item.columns, *(float(x) for pair in pairs for x in pair)])
    return Table(["group", "columns", *heads], rows)
