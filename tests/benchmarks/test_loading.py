"""What loading costs: cold against cached against reading the parquet each time, and the memory a worker adds."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from rich.table import Table

pytestmark = pytest.mark.bench
SEQUENCES = 1000
FULL = 10_721 + 1_444
ROUNDS = 3

LOAD = """
import json, sys, time
from lobmodels.data import load_dataset
start = time.perf_counter()
data = load_dataset(sys.argv[1])
seconds = time.perf_counter() - start
touched = float(data.train.features.sum())  # every page is read, as a first epoch does
memory = dict(line.split(":") for line in open("/proc/self/smaps_rollup").read().splitlines()[1:])
mib = {key: int(memory[key].split()[0]) / 1024 for key in ("Anonymous", "Rss")}
print(json.dumps({"seconds": seconds, **mib}))
"""
READ = """
import json, sys, time
import numpy as np, pyarrow.parquet as pq
start = time.perf_counter()
table = pq.read_table(sys.argv[1] + "/train.parquet")
rows = np.stack([table.column(name).to_numpy() for name in table.column_names[3:]], axis=1)
print(json.dumps({"seconds": time.perf_counter() - start}))
"""


def measure(code: str, folder: Path, cache: Path) -> dict[str, float]:
    """Run `code` in a fresh process."""
    environment = {**os.environ, "LOBTUNA_CACHE": str(cache)}
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder)], env=environment, capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="memory is read from Linux's /proc")
def test_loading(tmp_path: Path) -> None:
    """Prints seconds and memory for a data set of 1,000 train sequences, and the ratios."""
    from lobmodels.data.synthetic import write_dataset

    data = tmp_path / "data"
    write_dataset(data, train=SEQUENCES, valid=100, seed=0)
    cold = [measure(LOAD, data, tmp_path / f"cache{i}")["seconds"] for i in range(ROUNDS)]
    cached = [measure(LOAD, data, tmp_path / "cache0") for _ in range(ROUNDS)]
    plain = [measure(READ, data, tmp_path)["seconds"] for _ in range(ROUNDS)]
    median = {"cold": np.median(cold), "cached": np.median([c["seconds"] for c in cached]), "parquet": np.median(plain)}
    size = sum(f.stat().st_size for f in (tmp_path / "cache0").rglob("*.npy")) / 2**20
    table = Table(title=f"loading {SEQUENCES} + 100 sequences, medians of {ROUNDS}")
    for column in ("", "s", "/ reading the parquet"):
        table.add_column(column, justify="left" if not column else "right")
    for name, seconds in median.items():
        table.add_row(name, f"{seconds:.4f}", f"{seconds / median['parquet']:.4f}")
    console = Console(width=100)
    console.print(table)
    private = np.median([c["Anonymous"] for c in cached])
    console.print(
        f"arrays on disk {size:.0f} MiB ({size * FULL / (SEQUENCES + 100) / 1024:.2f} GiB at full size), mapped and "
        f"shared; a process that has read all of them holds {private:.0f} MiB of its own"
    )
