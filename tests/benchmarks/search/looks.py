"""What a second look gains: studies that take up pruned runs at the end of the budget, and the same ones that do not.

python -m tests.benchmarks.search.looks --seeds 8 --output looks.jsonl

Until its last part a study with a second look is the study without one. So one study runs to the largest budget, and
where the last part of a budget begins a copy of it goes on with a second look. Odd seeds are traps, so that no two
landscapes of a kind share their base. A landscape that the output holds already is not run again, so a run can be
stopped and resumed.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import optuna

from search.studyfile.spec import StudySpec
from search.studyfile.terms import SecondLookSpec
from tests.benchmarks.search.arms import ARMS
from tests.benchmarks.search.judge import FAMILIES, Row, fitted, study_spec
from tests.benchmarks.search.landscape import Landscape
from tests.benchmarks.search.recorded import Floats
from tests.benchmarks.search.simulate import Spent, begin, best_configuration, branch, go_on, shipped, within

FIRST_SEED = 2000  # below are the landscapes that other choices were judged on
BUDGETS = (300, 600, 900)  # epochs
SHARES = (0.1, 0.2)  # of the budget, for the second look
SEARCHES = ("ours", "before")
MEASURES = ("ensemble", "configuration")


def run_search(search: str, landscape: Landscape, spec: StudySpec) -> list[Row]:
    """One search without a second look at every budget, and with each share at every budget."""
    rows = []
    keeps = with_share(spec, max(SHARES))  # states are kept from the start
    study, spent = ARMS[search].study(spec), list[Spent]()
    begin(study, keeps)
    for at, share, budget in sorted(((1 - s) * b, s, b) for s in (0.0, *SHARES) for b in BUDGETS):
        spent = go_on(study, keeps, landscape, spent, epochs=at, looks=False)
        looked = go_on(branch(study), with_share(spec, share), landscape, spent, epochs=budget) if share else spent
        rows.append({"search": search, "share": share, "budget": budget, **measured(within(looked, epochs=budget))})
    return rows


def with_share(spec: StudySpec, share: float) -> StudySpec:
    """The spec with a second look in the last `share` of the budget."""
    return spec.model_copy(update={"second_look": SecondLookSpec(share=share)})


def measured(done: Sequence[Spent]) -> Row:
    """Quality of what a study has at its end, and what its second look did."""
    again = [trial for trial in done if trial.continues]
    return {
        "ensemble": shipped(list(done)),
        "configuration": best_configuration(list(done)),
        "complete": sum(trial.complete for trial in done),
        "taken_up": len(again),
        "taken_up_complete": sum(trial.complete for trial in again),
    }


def run_all(output: Path, seeds: Iterable[int], family: str) -> None:
    """Append the rows of every landscape that `output` does not hold yet, seed by seed."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    lines = output.read_text().splitlines() if output.exists() else []
    done = {(row["kind"], row["seed"], row["search"]) for row in map(json.loads, lines)}
    distributions = {name: fitted(name) for name in FAMILIES[family]}
    with output.open("a") as file:
        for seed in seeds:
            for kind, distribution in distributions.items():
                landscape = Landscape(distribution, seed, trap=seed % 2 == 1)
                for search in SEARCHES:
                    if (kind, seed, search) in done:
                        continue
                    rows = run_search(search, landscape, study_spec(distribution.epochs, seed, by_seconds=False))
                    where = {"kind": kind, "trap": landscape.trap, "seed": seed}
                    file.write("".join(json.dumps({**where, **row}) + "\n" for row in rows))
                    file.flush()


def differences(
    rows: Sequence[Row], search: str, share: float, budget: int, measure: str
) -> dict[tuple[str, int], float]:
    """With a second look minus without, by kind and seed of the landscape, in 1e-4. A landscape that misses one of the
    two is left out."""

    def values(of: float) -> dict[tuple[str, int], float]:
        chosen = [r for r in rows if r["search"] == search and r["share"] == of and r["budget"] == budget]
        return {(r["kind"], r["seed"]): r[measure] for r in chosen}

    with_look, without = values(share), values(0.0)
    found = {key: 1e4 * (with_look[key] - without[key]) for key in with_look if key in without}
    return {key: value for key, value in found.items() if np.isfinite(value)}


def over_budgets(rows: Sequence[Row], search: str, share: float, measure: str) -> dict[tuple[str, int], float]:
    """The mean of `differences` over the budgets, by kind and seed."""
    each = [differences(rows, search, share, budget, measure) for budget in BUDGETS]
    return {key: float(np.mean([one[key] for one in each])) for key in each[0] if all(key in one for one in each)}


def tables(rows: Sequence[Row]) -> str:
    """Markdown: what a second look gains, by kind of landscape, and how many runs it took up."""
    parts = [_gains(rows, measure) for measure in MEASURES]
    return "\n\n".join([*parts, _counts(rows)]) + "\n"


def _gains(rows: Sequence[Row], measure: str) -> str:
    head = [f"{measure}: with a second look minus without", "kind", *map(str, BUDGETS), "all three"]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for search in SEARCHES:
        for share in SHARES:
            found = [differences(rows, search, share, budget, measure) for budget in BUDGETS]
            found.append(over_budgets(rows, search, share, measure))
            for kind in dict.fromkeys(row["kind"] for row in rows):
                cells = [_cell(np.array([v for (k, _), v in each.items() if k == kind])) for each in found]
                lines.append(f"| {search}, {share:.0%} | {kind} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _counts(rows: Sequence[Row]) -> str:
    head = ["means", *(f"{budget}: complete / taken up / of these complete" for budget in BUDGETS)]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for search in SEARCHES:
        for share in (0.0, *SHARES):
            cells = []
            for budget in BUDGETS:
                own = [r for r in rows if (r["search"], r["share"], r["budget"]) == (search, share, budget)]
                names = ("complete", "taken_up", "taken_up_complete")
                cells.append(" / ".join(f"{np.mean([r[name] for r in own]):.1f}" for name in names))
            lines.append(f"| {search}, {share:.0%} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cell(found: Floats) -> str:
    """Mean and standard error over the landscapes."""
    if len(found) < 2:
        return "-"
    return f"{found.mean():+.0f} ({found.std(ddof=1) / np.sqrt(len(found)):.0f})"


def read(output: Path) -> list[dict[str, Any]]:
    """The rows of a run."""
    return [json.loads(line) for line in output.read_text().splitlines()]


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--seeds", type=int, default=8, help="each gives a landscape of each kind, a trap where it is odd"
    )
    parser.add_argument("--output", type=Path, default=Path("looks.jsonl"))
    parser.add_argument("--family", choices=FAMILIES, default="judging")
    parser.add_argument("--tables", action="store_true", help="only print those of --output")
    arguments = parser.parse_args()
    if not arguments.tables:
        first = FIRST_SEED if arguments.family == "judging" else 0
        run_all(arguments.output, range(first, first + arguments.seeds), arguments.family)
    print(tables(read(arguments.output)))


if __name__ == "__main__":
    main()
