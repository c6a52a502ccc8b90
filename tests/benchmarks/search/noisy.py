"""Level b once more, where few sequences select: landscapes like the small real studies of level c.

python -m tests.benchmarks.search.noisy --landscapes 40 --output noisy.jsonl

docs/search-proof.md says what was written before. A landscape that the output holds is not run again.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import optuna

from search.studyfile.spec import StudySpec, load_spec
from tests.benchmarks.search.arms import ARMS, Arm, half_at_random
from tests.benchmarks.search.judge import FIRST_JUDGING_SEED, Row, paired
from tests.benchmarks.search.landscape import Alike, Fitted, Landscape, correlations
from tests.benchmarks.search.paired import cell
from tests.benchmarks.search.real_study import COMPARED
from tests.benchmarks.search.recorded import real_studies
from tests.benchmarks.search.simulate import MEMBERS, Spent, shipped, simulate, within

SEEN = 0.45  # so that selection and truth correlate .54 over the runs that random search completes, as measured
ALIKE = Alike(seeds=0.85, near=0.82, far=0.68)  # so that ten members of random search have .73 in the mean, as measured
BUDGETS = (300, 900)  # epochs; the real pairs had 300


COMPARED_HERE = {
    "random": ARMS["random"],
    "tpe+median": ARMS["tpe+median"],
    "default": COMPARED["ours+median"],
    "halving": ARMS["ours"],
    "default, half at random": Arm(half_at_random, COMPARED["ours+median"].pruner, teaches=True),
    "halving, half at random": COMPARED["ours+half"],
}


def study_spec(seed: int) -> StudySpec:
    """The space of the small real studies."""
    return load_spec(Path(__file__).with_name("real.yaml")).model_copy(update={"seed": seed})


def told(spent: list[Spent]) -> dict[str, float]:
    """What the shipped ensemble is worth, and why: its members' own worth, and how alike they are."""
    complete = [trial for trial in spent if trial.complete]
    chosen = sorted(complete, key=lambda trial: -trial.select)[:MEMBERS]
    matrix = correlations(np.stack([t.run.vector for t in chosen]), [t.key for t in chosen], ALIKE)
    off = matrix[~np.eye(len(chosen), dtype=bool)]
    select, truth = (np.array([getattr(trial, name) for trial in complete]) for name in ("select", "truth"))
    return {
        "ensemble": shipped(spent, alike=ALIKE),
        "member": float(np.mean([trial.truth for trial in chosen])),
        "alike": float(off.mean()) if len(chosen) > 1 else np.nan,
        "seen": float(np.corrcoef(select, truth)[0, 1]) if len(complete) > 2 else np.nan,
        "trials": len(spent),
        "complete": len(complete),
    }


def run_all(output: Path, first: int, landscapes: int, half: int) -> None:
    """Append the rows of every landscape that `output` does not hold yet."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    lines = output.read_text().splitlines() if output.exists() else []
    done = {(row["seed"], row["arm"]) for row in map(json.loads, lines)}
    distribution = Fitted(real_studies(half))
    with output.open("a") as file:
        for seed in range(first, first + landscapes):
            landscape, spec = Landscape(distribution, seed, seen=SEEN), study_spec(seed)
            for name, arm in COMPARED_HERE.items():
                if (seed, name) in done:
                    continue
                spent = simulate(arm.study(spec), spec, landscape, epochs=max(BUDGETS))
                for budget in BUDGETS:
                    row = {"landscape": "noisy", "trap": False, "seed": seed, "arm": name, "budget": budget}
                    file.write(json.dumps(row | told(within(spent, epochs=budget))) + "\n")
                file.flush()


def tables(rows: list[Row]) -> str:
    """Markdown: each arm minus random search at equal epochs, in 1e-4; then what the ensembles are made of."""
    lines = ["| minus random | " + " | ".join(map(str, BUDGETS)) + " |", "|---" * (len(BUDGETS) + 1) + "|"]
    for arm in COMPARED_HERE:
        if arm != "random":
            cells = [cell(paired(rows, arm, "random", "ensemble", b, b)) for b in BUDGETS]
            lines.append(f"| {arm} | " + " | ".join(cells) + " |")
    lines += ["", "| means | epochs | trials | complete | member | alike | seen |", "|---" * 7 + "|"]
    for arm in COMPARED_HERE:
        for budget in BUDGETS:
            chosen = [row for row in rows if row["arm"] == arm and row["budget"] == budget]
            means: dict[str, Any] = {
                key: float(np.nanmean([row[key] for row in chosen]))
                for key in ("trials", "complete", "member", "alike", "seen")
            }
            cells = [f"{means[key]:.0f}" for key in ("trials", "complete")]
            cells += [f"{means[key]:.3f}" for key in ("member", "alike", "seen")]
            lines.append(f"| {arm} | {budget} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--landscapes", type=int, default=40)
    parser.add_argument("--output", type=Path, default=Path("noisy.jsonl"))
    parser.add_argument("--development", action="store_true", help="the even pairs, seeds below 1,000: for choosing")
    arguments = parser.parse_args()
    first = 0 if arguments.development else FIRST_JUDGING_SEED
    run_all(arguments.output, first, arguments.landscapes, 0 if arguments.development else 1)
    print(tables([json.loads(line) for line in arguments.output.read_text().splitlines()]))


if __name__ == "__main__":
    main()
