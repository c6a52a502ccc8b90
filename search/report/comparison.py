"""The comparison of studies as a page: tables, differences with intervals, the best so far over what was spent."""

from __future__ import annotations

from collections.abc import Sequence

from lobmodels.bootstrap import Difference
from search.report.compare import UNITS, Comparison, Entry, Path
from search.report.page import Figure, Page, PageTable, Section
from search.report.style import INK, SERIES, Spec, axis, figure, line, named, points, rule, share, with_rules

MARKS = 3  # measures in the figure of differences: best, ensemble, and after all that the least spender has spent


def page(comparison: Comparison) -> Page:
    """The page that `lobtuna compare --out` writes."""
    names = [study.name for study in comparison.studies]
    facts = [(study.name, f"{len(study.scored)} scored trials") for study in comparison.studies]
    return Page(
        title=" against ".join(names),
        question="Which of these studies found more, and for what?",
        facts=facts,
        sections=sections(comparison),
        footer="Scores are weighted Pearson correlations, mean of the targets. Written by lobtuna compare.",
        downloads=[("comparison.csv", "every measure of every study, unrounded")],
        heading="What differs",
        kind="comparison",
    )


def sections(comparison: Comparison) -> list[Section]:
    """Best and ensemble side by side, then the best so far over hours and over epochs."""
    return [_side_by_side(comparison), _spending(comparison)]


def _side_by_side(comparison: Comparison) -> Section:
    entries = [e for e in comparison.entries if not e.measure.startswith("after")]
    drawn = [e for e in comparison.entries if e.difference is not None]
    figures = [_differences(comparison, drawn)] if drawn else []
    text = ". ".join(remark[0].upper() + remark[1:] for remark in comparison.remarks) + "."
    return Section(
        "sides",
        "Best and ensemble",
        text,
        figures,
        [_table("sides", comparison, entries), comparison.table()],
        _finding(comparison),
    )


def _finding(comparison: Comparison) -> str:
    """The difference of the best configurations in words, or of the ensembles where those were compared."""
    for measure in ("ensemble", "best"):
        for entry in comparison.entries:
            if entry.measure == measure and entry.difference is not None:
                name = "ensemble" if measure == "ensemble" else "best configuration"
                return f"The {name} of {entry.study} scores {told(entry.difference)} against {comparison.first}."
    return ""


def told(difference: Difference) -> str:
    """`+0.0012 (-0.0010..+0.0034), better in 84 % of resamples`."""
    d = difference
    return f"{d.value:+.4f} ({d.low:+.4f}..{d.high:+.4f}), better in {share(d.better)} of resamples"


def _table(name: str, comparison: Comparison, entries: Sequence[Entry]) -> PageTable:
    columns = ["measure", "study", "selection", "report", f"against {comparison.first}", "what"]
    rows = [
        [
            e.measure,
            e.study,
            None if e.select is None else str(e.select),
            None if e.report is None else str(e.report),
            None if e.difference is None else told(e.difference),
            e.what,
        ]
        for e in entries
    ]
    return PageTable(name, columns, rows, "Side by side", 100, sequences="both")


def _differences(comparison: Comparison, drawn: Sequence[Entry]) -> Figure:
    labels = [f"{named(e.study)}, {e.measure}" for e in drawn]
    gaps = [e.difference for e in drawn if e.difference is not None]
    error = {
        "type": "data",
        "array": [round(d.high - d.value, 6) for d in gaps],
        "arrayminus": [round(d.value - d.low, 6) for d in gaps],
        "thickness": 2,
        "color": INK,
    }
    dots = points([d.value for d in gaps], labels, "difference", INK, error_x=error, marker={"size": 8})
    spec = figure(
        [dots],
        height=100 + 30 * len(labels),
        x=axis(f"score minus that of {named(comparison.first)}"),
        y=axis("", type="category", autorange="reversed", ticks=""),
    )
    text = "Difference of the scores on the same sequences, with its 90 % interval. One that holds zero may be chance."
    return Figure(text, with_rules(spec, rule(0)), comparison.on if comparison.on == "report" else "selection")


def _spending(comparison: Comparison) -> Section:
    figures = [
        Figure(
            f"Best finished run so far over {unit}, summed over all workers; dashed: what that run scores on report "
            "sequences.",
            _over(comparison, unit),
            "both",
            title=f"Over {unit}",
            half=True,
        )
        for unit in UNITS
    ]
    entries = [e for e in comparison.entries if e.measure.startswith("after")]
    text = "What each study had found after equal hours and equal epochs of training, pruned and failed runs included."
    return Section("spending", "For what they spent", text, figures, [_table("spending", comparison, entries)])


def _over(comparison: Comparison, unit: str) -> Spec:
    traces = []
    for study, color in zip(comparison.studies, SERIES, strict=False):
        path = Path(study)
        x, select, report = [], [], []
        best: float | None = None
        for trial, spent in zip(path.ended, path.spent(unit).tolist(), strict=True):
            if trial.state == "complete" and trial.value is not None and (best is None or trial.value > best):
                best = trial.value
                x.append(spent)
                select.append(trial.value)
                report.append(trial.report.get("mean"))
        if x:
            x, select, report = [*x, float(path.spent(unit)[-1])], [*select, select[-1]], [*report, report[-1]]
        traces.append(line(x, select, named(study.name), color, line={"shape": "hv"}))
        traces.append(line(x, report, "", color, line={"shape": "hv", "dash": "dash"}, showlegend=False))
    return figure(traces, height=340, x=axis(unit), y=axis("score"))
