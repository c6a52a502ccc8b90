"""The page of a data profile, section by section, and the CSV files beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lobmodels.files import write_atomically
from lobmodels.profile.findings import findings, shifted_columns
from lobmodels.profile.importance import RUN_SEQUENCES
from lobmodels.profile.ridge import RAW, TRAIN_SEQUENCES
from lobmodels.profile.tabulation import tables
from lobmodels.profile.targets import LARGE
from search.profile import figures
from search.profile.figures import SHOWN
from search.report.page import Figure, Page, PageTable, Section, render

if TYPE_CHECKING:
    from lobmodels.profile.importance import Importance
    from lobmodels.profile.measure import Profile

PAGE = "profile.html"
DOWNLOADS = {
    "files": "size and fingerprint of both files",
    "columns": "scale, shift and correlations of every column and derived feature",
    "targets": "distribution of the targets",
    "lags": "autocorrelation, cross-correlation and lift of large moves by lag",
    "concentration": "share of the metric's weight on the heaviest rows and sequences",
    "ridge": "scores of the ridge models",
    "importance": "what permuting a group of columns costs",
}


def write_profile(profile: Profile, folder: Path) -> list[Path]:
    """Write the page and the CSV files of `profile` into `folder`; the paths written, the page first.

    Raises `OutputError` where the folder cannot be written.
    """
    files = {f"{name}.csv": table.to_csv() for name, table in tables(profile).items()}
    for name, text in {**files, PAGE: render(page(profile))}.items():
        write_atomically(folder / name, text)
    return [folder / PAGE, *(folder / name for name in files)]


def page(profile: Profile) -> Page:
    """The whole page."""
    raw = next(item for item in profile.ridges.scores if item.ridge.name == RAW)
    facts = [
        ("data", str(profile.train.path.parent.resolve())),
        ("sequences, train + valid", f"{profile.train.sequences:,} + {profile.valid.sequences:,}"),
        ("scored rows", f"{profile.train.scored_rows:,} + {profile.valid.scored_rows:,}"),
        ("ridge on one row, valid", f"{raw.valid.mean:.3f} ± {raw.valid.mean_error:.3f}"),
        ("adversarial AUC", f"{profile.adversarial.sequences:.2f}"),
        ("content", profile.fingerprint),
    ]
    return Page(
        title="Data profile",
        question="What is this data like, and what can be learned from it?",
        facts=facts,
        sections=list(sections(profile)),
        footer="Errors are one standard error over resampled sequences. Written by lobtuna data profile.",
        downloads=[(f"{name}.csv", what) for name, what in DOWNLOADS.items()],
        heading="What stands out",
        kind="data profile",
    )


def sections(profile: Profile) -> Iterator[Section]:
    """All sections in the order of the page, each with what stands out in it."""
    found = findings(profile)
    makers: dict[str, Callable[[Profile, str], Section]] = {
        "integrity": _integrity,
        "scale": _scale,
        "shift": _shift,
        "memory": _memory,
        "concentration": _concentration,
        "clustering": _clustering,
        "columns": _columns,
        "ridge": _ridge,
        "importance": _importance,
    }
    for topic, make in makers.items():
        yield make(profile, found.get(topic, ""))
    if profile.run is not None:
        yield _run(profile, found.get("run", ""))


def _integrity(profile: Profile, finding: str) -> Section:
    rows = [
        [part, f.sequences, f.rows, f.scored_rows, 0, f.repeated, round(f.megabytes, 1)]
        for part, f in (("train", profile.train), ("valid", profile.valid))
    ]
    heads = ["file", "sequences", "rows", "scored rows", "NaN or inf", "repeated", "MB"]
    text = (
        "Both files keep the challenge's format: every sequence is whole and in order, no value is NaN or inf, the "
        "scored rows are those that should be. Repeated sequences have the same features as an earlier one."
    )
    return Section("integrity", "Integrity", text, tables=[PageTable("files", heads, rows)], finding=finding)


def _scale(profile: Profile, finding: str) -> Section:
    raw = [column for column in profile.columns if column.is_raw]
    drawn = Figure("Mean and one standard deviation of each raw column over all rows.", figures.scale(raw))
    heads = [f"{part} {moment}" for part in ("train", "valid") for moment in ("mean", "std", "min", "max")]
    rows = [[c.name, c.group, *c.train, *c.valid] for c in profile.columns]
    text = "Where train and valid differ, a model meets inputs in validation that it was not trained on."
    table = _folded("columns", ["column", "group", *heads], rows, "Scale of all columns and derived features")
    return Section("scale", "Scale", text, [drawn], [table], finding)


def _shift(profile: Profile, finding: str) -> Section:
    columns = shifted_columns(profile)
    drawn = Figure(
        f"KS distance, the largest gap between the two distributions, of the {SHOWN} most shifted columns and derived "
        "features. A bar that does not pass its tick is no evidence of a shift.",
        figures.shift(columns[:SHOWN]),
    )
    rows = [[c.name, c.group, c.ks, c.ks_chance, c.mean_shift] for c in columns]
    heads = ["column", "group", "KS", "KS by chance", "mean shift / std"]
    text = (
        "The tick is what as many whole sequences drawn from train show against the rest of train: sequences are the "
        "evidence, not rows. Distributions are compared on evenly spaced rows. The classifier of the adversarial AUC "
        "sees all columns and their squares, and is judged on sequences it was not fitted on."
    )
    table = _folded("columns", heads, rows, "Shift of all columns and derived features")
    return Section("shift", "Shift from train to valid", text, [drawn], [table], finding)


def _memory(profile: Profile, finding: str) -> Section:
    first, last = profile.target_names[0], profile.target_names[-1]
    drawn = [
        Figure(
            f"Autocorrelation of {name} within a sequence, and of its size.",
            figures.autocorrelation(profile, k),
            title=name,
            half=True,
        )
        for k, name in enumerate(profile.target_names)
    ]
    together = Figure(
        f"Correlation of {first} in one row with {last} some rows later or earlier; at zero, in the same row.",
        figures.cross_correlation(profile),
        title=f"{first} and {last} together",
    )
    full = tables(profile)["targets"]
    turned = [[name, *(row[i] for row in full.rows)] for i, name in enumerate(full.columns) if i > 1]
    heads = ["", *(f"{row[0]} {row[1]}" for row in full.rows)]
    text = "Where the size decays slowly, calm and volatile stretches alternate: neighbouring rows are not independent."
    table = _folded("targets", heads, turned, "Distribution of the targets")
    return Section("memory", "Memory of the targets", text, [*drawn, together], [table], finding)


def _concentration(profile: Profile, finding: str) -> Section:
    drawn = [
        Figure(
            f"Share of the weight of {name} on its heaviest rows, and on its heaviest whole sequences: the steeper, "
            "the fewer decide a score.",
            figures.concentration(profile, k),
            title=name,
            half=True,
        )
        for k, name in enumerate(profile.target_names)
    ]
    text = "The metric weighs each scored row by the size of its target."
    return Section("concentration", "Which rows carry the weight of the score", text, drawn, finding=finding)


def _clustering(profile: Profile, finding: str) -> Section:
    drawn = Figure(
        "How much likelier than usual a large move is some events after another. One means no clustering.",
        figures.large_moves(profile),
    )
    text = f"Large is among the {LARGE:.0%} of rows with the largest |target| of that file."
    return Section("clustering", "Large moves cluster", text, [drawn], finding=finding)


def _columns(profile: Profile, finding: str) -> Section:
    drawn, folded = [], []
    kinds = ("weighted_train", "weighted_valid", "plain_train", "plain_valid")
    for k, name in enumerate(profile.target_names):
        ranked = sorted(profile.columns, key=lambda column: -abs(column.weighted_train[k]))
        drawn.append(
            Figure(
                f"Correlation with {name} over scored rows of the {SHOWN} columns and derived features whose weighted "
                "correlation in train is strongest.",
                figures.correlations(ranked[:SHOWN], k, name),
                title=name,
                half=True,
            )
        )
        rows = [[c.name, c.group, *(getattr(c, kind)[k] for kind in kinds)] for c in ranked]
        heads = ["column", "group", *(kind.replace("_", ", ") for kind in kinds)]
        folded.append(_folded("columns", heads, rows, f"Correlation of every column with {name}"))
    text = (
        "Filled dots are weighted as the metric weighs, open ones are plain. A column whose train and valid dots lie "
        "far apart predicts differently in valid than in train."
    )
    return Section("columns", "Correlation with the targets", text, drawn, folded, finding)


def _ridge(profile: Profile, finding: str) -> Section:
    drawn = Figure(
        f"Scores on up to {TRAIN_SEQUENCES:,} sequences of train, on which it was fitted, and on all validation "
        "sequences. Between models on the same sequences errors are smaller than the bars.",
        figures.ridge_scores(profile),
    )
    heads = [f"{part} {name}" for part in ("train", "valid") for name in (*profile.target_names, "mean", "±")]
    rows = [
        [s.ridge.name, len(s.ridge.columns)]
        + [x for part in (s.train, s.valid) for x in (*map(float, part.values), part.mean, part.mean_error)]
        for s in profile.ridges.scores
    ]
    text = (
        "A linear model that sees one row: the raw columns alone, with each group of derived features, and with all; "
        "its penalty is chosen by cross-validation over train."
    )
    table = _folded("ridge", ["model", "columns", *heads], rows, "Scores of the ridge models")
    return Section("ridge", "A ridge on one row", text, [drawn], [table], finding)


def _importance(profile: Profile, finding: str) -> Section:
    drawn, folded = [], []
    for name, items in profile.ridges.importance.items():
        drawn.append(
            Figure(
                f"Ridge on {name}, all validation sequences.",
                figures.importance(items, profile.target_names),
                title=f"Ridge on {name}",
                half=True,
            )
        )
        folded.append(_drops(profile, items, f"Drops of the ridge on {name}"))
    text = (
        "How much the score drops when a group's columns are taken from another row. Groups that say the same share "
        "their importance."
    )
    return Section("importance", "What the ridge depends on", text, drawn, folded, finding)


def _run(profile: Profile, finding: str) -> Section:
    run = profile.run
    assert run is not None
    text = (
        f"How much the score of the trained run {run.name}, {run.scores.mean:.4f} ± {run.scores.mean_error:.4f} here, "
        f"drops when a group's columns are taken from another sequence, on average over several exchanges where "
        "sequences are few."
    )
    caption = f"Evaluated on {run.sequences:,} {run.which}; at most {RUN_SEQUENCES} are used."
    drawn = Figure(caption, figures.importance(run.importance, profile.target_names))
    table = _drops(profile, run.importance, f"Drops of {run.name}")
    return Section("run", f"What the run {run.name} depends on", text, [drawn], [table], finding)


def _drops(profile: Profile, items: list[Importance], text: str) -> PageTable:
    heads = [x for name in (*profile.target_names, "mean") for x in (f"drop {name}", f"± {name}")]
    rows: list[list[Any]] = []
    for item in items:
        pairs = [*zip(item.drop.values, item.drop.errors, strict=True), (item.drop.mean, item.drop.mean_error)]
        rows.append([item.group, item.columns, *(float(x) for pair in pairs for x in pair)])
    return _folded("importance", ["group", "columns", *heads], rows, text)


def _folded(name: str, columns: list[str], rows: list[list[Any]], text: str) -> PageTable:
    """A table that opens on request, with all its lines."""
    return PageTable(name, columns, rows, text, shown=len(rows), folded=True)
