"""Level c: paired studies of small networks on real order books, judged at equal seconds and at equal epochs.

python -m tests.benchmarks.search.real --data ~/lob --output real.jsonl
python -m tests.benchmarks.search.real --output real.jsonl --tables

Each study goes on until both budgets are spent, and is judged at each with the trials that had ended by then: one study
tells both. Seconds are those of the processor (`time.process_time`, one thread), so that other work on the machine does
not count. A study's line is appended when it has been judged; studies that the output holds are not run again, so the
script may be stopped at any time. docs/search-proof.md says what is compared and how it is judged.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import optuna

from lobmodels.config import RunConfig
from lobmodels.data import load_dataset
from lobmodels.training.batches import RunData
from lobmodels.training.host import tune_host
from lobmodels.training.run import TrainingRun
from tests.benchmarks.search.paired import tables
from tests.benchmarks.search.real_judge import Judge
from tests.benchmarks.search.real_study import COMPARED, USUAL, Pair, RealStudy


def run_study(arm: str, number: int, pair: Pair, epochs: float, seconds: float) -> dict[str, Any]:
    """One study and its judgement at each budget and at half of it, as one line of the output."""
    real = RealStudy.of(arm, number, pair)
    real.search(epochs, seconds)
    judge = Judge(real)
    at = {
        "epochs": judge.at(epochs=epochs),
        "seconds": judge.at(seconds=seconds),
        "half the epochs": judge.at(epochs=epochs / 2, configuration=False),
        "half the seconds": judge.at(seconds=seconds / 2, configuration=False),
    }
    trials = [t.document() for t in real.ended]
    return {"arm": arm, "pair": number, "budget": [epochs, seconds], "at": at, "trials": trials}


def main() -> None:
    """Run what is missing, pair by pair, and print the tables so far after each study."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder with train.parquet and valid.parquet of real_lob")
    parser.add_argument("--output", type=Path, default=Path("real.jsonl"))
    parser.add_argument("--arms", nargs="+", choices=COMPARED, default=list(USUAL))
    parser.add_argument("--first", type=int, default=1000, help="number of the first pair; below 1,000: for trying")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--epochs", type=float, default=300)
    parser.add_argument("--seconds", type=float, default=36, help="of the processor, a study")
    parser.add_argument("--tables", action="store_true", help="print the tables of the output and run nothing")
    chosen = parser.parse_args()
    if not chosen.tables:
        if chosen.data is None:
            parser.error("give --data, or --tables to print what the output holds")
        run_pairs(chosen)
    print(tables(_lines(chosen.output)))


def run_pairs(chosen: argparse.Namespace) -> None:
    """Append the lines that `chosen.output` lacks."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    tune_host(1)
    whole = load_dataset(chosen.data)
    compile_kernels(Pair.draw(whole, 0))
    for number in range(chosen.first, chosen.first + chosen.pairs):
        pair = Pair.draw(whole, number)
        for arm in chosen.arms:
            done = {(line["arm"], line["pair"]) for line in _lines(chosen.output)}
            if (arm, number) in done:
                continue
            line = run_study(arm, number, pair, chosen.epochs, chosen.seconds)
            with chosen.output.open("a") as file:
                file.write(json.dumps(line) + "\n")
            print(tables(_lines(chosen.output)), flush=True)


def compile_kernels(pair: Pair) -> None:
    """Train one epoch of each architecture, so that no study's clock pays for what is compiled once a process."""
    for architecture in ("gru", "lstm"):
        config = RunConfig.parse({"architecture": architecture, "hidden_size": 8, "batch_size": 16})
        TrainingRun(config, 0, RunData.prepare(pair.dataset, config, "cpu", 0.0)).train_epoch()


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


if __name__ == "__main__":
    main()
