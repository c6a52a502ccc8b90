"""`make bench-search`: the replay and the simulation, in minutes; the real studies are a soak test.

With less time: `make bench-search SEEDS=1 ORDERS=10 EPOCHS=100,300`.

The tables of docs/search-proof.md come from the same functions with more landscapes.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import optuna
import pytest
from optuna.pruners import BasePruner, MedianPruner, NopPruner, PatientPruner, SuccessiveHalvingPruner

from search.study.curve_pruner import CurvePruner
from search.study.halving import HalvingPruner
from search.study.quiet import without_experimental_warning
from tests.benchmarks.search.judge import FIRST_JUDGING_SEED, run_all, tables
from tests.benchmarks.search.recorded import Recorded, real_lob, small_set
from tests.benchmarks.search.replay import compare

ORDERS = int(os.environ.get("BENCH_ORDERS", "40"))  # of the recorded runs in the replay
SEEDS = int(os.environ.get("BENCH_SEEDS", "2"))  # of each of the four kinds of landscape
optuna.logging.set_verbosity(optuna.logging.WARNING)


def pruners(planned: int) -> dict[str, Callable[[], BasePruner]]:
    """What is replayed; built anew for every order, as some remember the study that they saw first."""
    return {
        "none": NopPruner,
        "median": MedianPruner,
        "median 8": lambda: MedianPruner(8, 8),
        "before: median 10, patience 2": _before,
        "halving 4, 3": lambda: SuccessiveHalvingPruner(min_resource=4, reduction_factor=3),
        "halving 1, 4 (Optuna's default)": SuccessiveHalvingPruner,
        "curve": lambda: CurvePruner(planned=planned, warmup=2, startup=8, seed=0, by_seconds=False),
        "ours": lambda: HalvingPruner(planned=planned, first=1, by_seconds=False),
    }


def _before() -> BasePruner:
    with without_experimental_warning():
        return PatientPruner(MedianPruner(8, 10, n_min_trials=4), 2)


@pytest.mark.bench
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    ("name", "recorded", "epochs", "early"),
    [("small set", small_set(), 240, 8), ("small set", small_set(), 400, 8), ("real_lob", real_lob(), 200, 6)],
)
def test_replay(name: str, recorded: Recorded, epochs: int, early: int) -> None:
    """Prints epochs a run, the best selection score and the mean of the (at most) ten best, and what none has less."""
    planned = recorded.curves.shape[1]
    print(f"\n{name}, {epochs} epochs, {ORDERS} orders")
    print("| pruner | epochs a run | pruned | best | ten best | more than none (standard error) |")
    print("|---" * 6 + "|")
    none = None
    for pruner, build in pruners(planned).items():
        found = compare(recorded, {pruner: (build, early)}, orders=ORDERS, epochs=epochs)[pruner]
        none = found if none is None else none
        best, ten = (found - none)[:, 2], (found - none)[:, 3]
        length, share, top, mean = found.mean(0)
        error = np.array([best.std(ddof=1), ten.std(ddof=1)]) / np.sqrt(ORDERS)
        print(
            f"| {pruner} | {length:.1f} | {share:.0%} | {top:.4f} | {mean:.4f} | {best.mean():+.4f} ({error[0]:.4f}), "
            f"{ten.mean():+.4f} ({error[1]:.4f}) |"
        )
        assert length <= planned and 0 <= share < 1


@pytest.mark.bench
@pytest.mark.timeout(3 * 3600)
@pytest.mark.parametrize("by", ["epochs", "seconds"])
def test_simulation(tmp_path: Path, by: str) -> None:
    """`SEEDS` seeds of each kind of landscape, at equal epochs and at equal seconds; prints the tables of all arms."""
    output, seeds = tmp_path / "judge.jsonl", range(FIRST_JUDGING_SEED, FIRST_JUDGING_SEED + SEEDS)
    run_all(output, seeds, "judging", by)
    rows = [json.loads(line) for line in output.read_text().splitlines()]
    print(f"\nat equal {by}\n\n{tables(rows)}", flush=True)
    run_all(output, seeds, "judging", by)
    assert len(output.read_text().splitlines()) == len(rows)  # nothing is run twice


@pytest.mark.soak
@pytest.mark.timeout(8 * 3600)
def test_real_studies(real_lob: Path, tmp_path: Path) -> None:
    """One pair of whole studies of all arms; prints the tables after each, and runs nothing twice."""
    from tests.benchmarks.search.real import USUAL, run_pairs

    chosen = argparse.Namespace(data=real_lob, output=tmp_path / "real.jsonl", arms=list(USUAL), first=1000, pairs=1)
    chosen.epochs, chosen.seconds = 300.0, 36.0
    run_pairs(chosen)
    run_pairs(chosen)
    lines = [json.loads(line) for line in chosen.output.read_text().splitlines()]
    assert [line["arm"] for line in lines] == list(USUAL)
    assert all(0 < line["at"]["seconds"]["ensemble"] < 1 for line in lines)
