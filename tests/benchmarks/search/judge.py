"""Level b: all arms on the same landscapes, and the tables of paired differences.

python -m tests.benchmarks.search.judge --landscapes 10 --output judge.jsonl
python -m tests.benchmarks.search.judge --landscapes 10 --output judge.jsonl --by seconds

The second compares at equal seconds. A landscape that the output holds already is not run again, so a run can be
stopped and resumed. `--family development` and seeds below 1,000 are for choosing; the default is for judging.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import optuna

from search.studyfile.parameters import Fixed
from search.studyfile.spec import StudySpec, load_spec
from search.studyfile.terms import BudgetSpec
from tests.benchmarks.search.arms import ARMS
from tests.benchmarks.search.landscape import Fitted, Landscape
from tests.benchmarks.search.recorded import Floats, real_lob, small_set
from tests.benchmarks.search.simulate import best_configuration, shipped, simulate, within

BUDGETS = tuple(map(int, os.environ.get("BENCH_EPOCHS", "300,600,900").split(",")))  # of one study
LONGER = 3  # random search is also given so many times as much
FIRST_JUDGING_SEED = 1000
FAMILIES = {"judging": ("small odd", "real"), "development": ("small even",)}
EARLY = {18: 6, 24: 8}  # early stopping by planned epochs
USUAL_SECONDS = {18: 5.0, 24: 1.6}  # of an epoch of the recorded runs, to state a budget of seconds
Row = dict[str, Any]


def fitted(name: str) -> Fitted:
    """The distribution of landscapes of this name."""
    recorded = {
        "small even": lambda: small_set().part(slice(0, None, 2)),
        "small odd": lambda: small_set().part(slice(1, None, 2)),
        "real": real_lob,
    }
    return Fitted(recorded[name]())


def study_spec(epochs: int, seed: int, by_seconds: bool) -> StudySpec:
    """The benchmark's space with as many epochs as the recorded runs had; a budget of hours where seconds count."""
    spec = load_spec(Path(__file__).with_name("space.yaml"))
    values = {"epochs": epochs, "early_stopping": EARLY[epochs]}
    changes = {
        "parameters": {**spec.parameters, **{name: Fixed(value=value) for name, value in values.items()}},
        "baselines": tuple({**baseline, **values} for baseline in spec.baselines),
        "budget": BudgetSpec(hours=1.0) if by_seconds else BudgetSpec(),
        "seed": seed,
    }
    return spec.model_copy(update=changes)


def run_arm(name: str, landscape: Landscape, spec: StudySpec, by_seconds: bool) -> list[Row]:
    """One study, judged at every budget."""
    budgets = [*BUDGETS, *(LONGER * b for b in BUDGETS)] if name == "random" else list(BUDGETS)
    unit = USUAL_SECONDS[landscape.fitted.epochs] if by_seconds else 1.0
    limit = {"epochs": np.inf, "seconds": max(budgets) * unit} if by_seconds else {"epochs": max(budgets)}
    spent = simulate(ARMS[name].study(spec), spec, landscape, **limit)
    rows = []
    for budget in sorted(set(budgets)):
        done = within(spent, seconds=budget * unit) if by_seconds else within(spent, epochs=budget)
        complete = sum(trial.complete for trial in done)
        diverged = sum(trial.run.diverged for trial in done)
        values = {"ensemble": shipped(done), "configuration": best_configuration(done)}
        counts = {"trials": len(done), "complete": complete, "diverged": diverged}
        rows.append({"arm": name, "budget": budget, **values, **counts})
    return rows


def run_all(output: Path, seeds: Iterable[int], family: str, by: str) -> None:
    """Append the rows of every landscape that `output` does not hold yet."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    lines = output.read_text().splitlines() if output.exists() else []
    done = {(row["by"], row["landscape"], row["trap"], row["seed"], row["arm"]) for row in map(json.loads, lines)}
    distributions = {name: fitted(name) for name in FAMILIES[family]}
    with output.open("a") as file:
        for seed in seeds:
            for name, distribution in distributions.items():
                for trap in (False, True):
                    landscape = Landscape(distribution, seed, trap=trap)
                    spec = study_spec(distribution.epochs, seed, by == "seconds")
                    where = {"landscape": name, "trap": trap, "seed": seed, "by": by}
                    for arm in ARMS:
                        if (by, name, trap, seed, arm) in done:
                            continue
                        for row in run_arm(arm, landscape, spec, by == "seconds"):
                            file.write(json.dumps({**where, **row}) + "\n")
                        file.flush()


def paired(rows: list[Row], arm: str, other: str, measure: str, budget: int, other_budget: int) -> Floats:
    """Differences arm - other, one a landscape that both have, in units of 1e-4."""

    def values(name: str, at: int) -> dict[Any, float]:
        chosen = [row for row in rows if row["arm"] == name and row["budget"] == at]
        return {(row["landscape"], row["trap"], row["seed"]): row[measure] for row in chosen}

    own, others = values(arm, budget), values(other, other_budget)
    found = np.array([own[key] - others[key] for key in own if key in others])
    return 1e4 * found[np.isfinite(found)]


def table(rows: list[Row], measure: str) -> str:
    """Markdown: what `ours` has more than each arm, by budget; last, than random search with three times as much."""
    lines = [f"| {measure}: ours minus | " + " | ".join(map(str, BUDGETS)) + " |", "|---" * (len(BUDGETS) + 1) + "|"]
    for arm in ARMS:
        if arm != "ours":
            cells = [_cell(paired(rows, "ours", arm, measure, b, b)) for b in BUDGETS]
            lines.append(f"| {arm} | " + " | ".join(cells) + " |")
    cells = [_cell(paired(rows, "ours", "random", measure, b, LONGER * b)) for b in BUDGETS]
    lines.append(f"| random, {LONGER} times the budget | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cell(differences: Floats) -> str:
    if len(differences) < 2:
        return "-"
    return f"{differences.mean():+.0f} ({differences.std(ddof=1) / np.sqrt(len(differences)):.0f})"


def tables(rows: list[Row]) -> str:
    """All tables: each kind of landscape, then all together."""
    parts = []
    for name in dict.fromkeys(row["landscape"] for row in rows):
        for trap in (False, True):
            part = [row for row in rows if row["landscape"] == name and row["trap"] == trap]
            count = len({row["seed"] for row in part if row["arm"] == "ours"})
            parts.append(f"{name}{', trap' if trap else ''}: {count} landscapes\n\n{table(part, 'ensemble')}")
    parts += [f"All landscapes\n\n{table(rows, measure)}" for measure in ("ensemble", "configuration")]
    return "\n\n".join(parts) + "\n"


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--landscapes", type=int, default=10, help="seeds; each gives a plain landscape and a trap")
    parser.add_argument("--output", type=Path, default=Path("judge.jsonl"))
    parser.add_argument("--family", choices=FAMILIES, default="judging")
    parser.add_argument("--by", choices=("epochs", "seconds"), default="epochs")
    arguments = parser.parse_args()
    first = FIRST_JUDGING_SEED if arguments.family == "judging" else 0
    run_all(arguments.output, range(first, first + arguments.landscapes), arguments.family, arguments.by)
    rows = [json.loads(line) for line in arguments.output.read_text().splitlines()]
    print(tables([row for row in rows if row["by"] == arguments.by]))


if __name__ == "__main__":
    main()
