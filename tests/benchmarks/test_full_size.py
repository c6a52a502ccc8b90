"""What the challenge's full data costs on a CPU: an epoch, projected from a few batches, and memory of K runs at once.

Each K is a fresh process of one thread. Seconds are those of the processor (`time.process_time`), which another load on
the machine changes little; the memory is the process's own (`Anonymous` of /proc), so the mapped data does not count.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

pytestmark = [
    pytest.mark.bench,
    pytest.mark.timeout(3600),
    pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="memory is read from Linux's /proc"),
]
TRAIN, VALID = 10_721, 1_444  # sequences of 1,000 rows
BATCH, PART, CHECKED = 192, 384, 128  # of which two batches and one validation batch are measured
COUNTS = (1, 2, 4)

MEASURE = """
import json, sys, time
from lobmodels.config import RunConfig
from lobmodels.data import load_dataset
from lobmodels.training.batches import RunData
from lobmodels.training.host import tune_host
from lobmodels.training.run import TrainingRun

tune_host(1)
count, values = int(sys.argv[2]), json.loads(sys.argv[3])
dataset = load_dataset(sys.argv[1])
config = RunConfig.parse(values)
data = RunData.prepare(dataset, config, "cpu", report_fraction=0.0)
runs = [TrainingRun(config, seed, data) for seed in range(count)]
steps = [run.train_pass() for run in runs]
for each in steps:
    next(each)
start = time.process_time()
for each in steps:
    next(each)
trained = (time.process_time() - start) / count
start = time.process_time()
runs[0]._evaluate(data.select)
checked = time.process_time() - start
memory = dict(line.split(":") for line in open("/proc/self/smaps_rollup").read().splitlines()[1:])
print(json.dumps({"trained": trained, "checked": checked, "mib": int(memory["Anonymous"].split()[0]) / 1024}))
"""


@pytest.mark.parametrize("shape", ["3x64", "2x144"])
def test_an_epoch_and_memory(shape: str, tmp_path: Path) -> None:
    """Prints the seconds of a batch and of an epoch, and what each further run at once adds to the memory."""
    from lobmodels.data.synthetic import write_dataset

    layers, size = (int(part) for part in shape.split("x"))
    values = json.dumps({"hidden_size": size, "num_layers": layers, "batch_size": BATCH})
    write_dataset(tmp_path, train=PART, valid=CHECKED, seed=0)
    found = {}
    for count in COUNTS:
        command = [sys.executable, "-c", MEASURE, str(tmp_path), str(count), values]
        found[count] = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    batches = -(-TRAIN // BATCH)
    epoch = batches * found[1]["trained"] + VALID / CHECKED * found[1]["checked"]
    more = [f"{(found[count]['mib'] - found[1]['mib']) / (count - 1):.0f}" for count in COUNTS[1:]]
    Console(width=120).print(
        f"{shape}, batch {BATCH}, one thread: {found[1]['trained']:.2f} s a batch, {epoch:.0f} s an epoch of {TRAIN:,} "
        f"sequences, validation of {VALID:,} included; {found[1]['mib']:.0f} MiB, and a further run at once "
        f"{' to '.join(more)} MiB; a step of one of {COUNTS[-1]} runs / of one alone "
        f"{found[COUNTS[-1]]['trained'] / found[1]['trained']:.2f}"
    )
