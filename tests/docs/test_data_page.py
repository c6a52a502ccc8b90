"""The page on data: its commands run, and print what it shows."""

from __future__ import annotations

import contextlib
import io
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lobmodels.data import load_dataset
from search.cli import main
from tests.docs.pages import PAGES, ROOT, blocks, commands
from tests.lobmodels.data.fi2010_files import write_events
from tests.lobmodels.data.lobster_files import events as lobster_events
from tests.lobmodels.data.lobster_files import write_day

PAGE = PAGES["data.md"]


def shape(line: str) -> str:
    """A line without its digits, signs and widths: figures may differ in the last place between machines."""
    return re.sub(r"[\s\d.,+-]+", " ", line).strip()


@pytest.fixture(scope="module")
def printed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Output of each command of the page, run one after another in a folder with the files that it names."""
    folder = tmp_path_factory.mktemp("page")
    (folder / "studies").symlink_to(ROOT / "studies")
    write_files(folder)
    found = {}
    with contextlib.chdir(folder), pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", "80")  # as wide as the page
        for block in blocks("data.md"):
            for line in commands(block):
                name, *arguments = shlex.split(line)
                assert name == "lobtuna"
                found[line] = run(arguments)
        assert Path("profile/profile.html").is_file()
        assert "What the run smoke#0 depends on" in Path("profile-smoke/profile.html").read_text()
        yield found


def write_files(folder: Path) -> None:
    """What a user brings: a series with the columns of the page's schema, FI-2010's text, two days of LOBSTER's."""
    schema = next(block for block in re.findall(r"^```yaml\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE))
    (folder / "schema.yaml").write_text(schema)
    names = ("bid", "ask", "bid_size", "ask_size", "last", "volume", "move_10", "move_100")
    rows = np.random.default_rng(0).standard_normal((4000, len(names)))
    pq.write_table(pa.table({name: rows[:, j] for j, name in enumerate(names)}), folder / "ticks.parquet")
    write_events(folder / "Train_Dst_NoAuction_ZScore_CF_7.txt", 3000)
    for seed, day in enumerate(("2024-01-02", "2024-01-03")):
        for path in write_day(folder, *lobster_events(1200, seed=seed), day):
            path.rename(folder / path.name.replace("_34200000_57600000", ""))


def run(arguments: list[str]) -> str:
    """Stdout of a command that ends well. In this process: loading torch for each of them would take longer."""
    output = io.StringIO()
    with contextlib.redirect_stdout(output), pytest.raises(SystemExit) as stop:
        main(arguments)
    assert not stop.value.code, f"{arguments}: exit {stop.value.code}"
    return output.getvalue()


@pytest.mark.parametrize("command", ["lobtuna data check lob", "lobtuna data profile lob --output profile"])
def test_page_shows_what_is_printed(command: str, printed: dict[str, str]) -> None:
    """Every line shown below a command is among the lines it prints."""
    after = PAGE.split(command, 1)[1]
    shown = re.search(r"```\n(.*?)```", after.split("```", 1)[1], re.DOTALL)
    assert shown is not None
    lines = {shape(line) for line in printed[command].splitlines()}
    expected = [line for line in shown[1].splitlines() if line != "[...]"]
    assert len(expected) > 8
    assert [line for line in expected if shape(line) not in lines] == []


def test_other_data_is_imported(printed: dict[str, str]) -> None:
    """The folders that the page's commands write are read as their schemas say."""
    for folder, targets in (("ticks", 2), ("fi2010", 5), ("tick", 3)):
        data = load_dataset(Path(folder))
        assert len(data.schema.targets) == targets and len(data.train) and len(data.valid)
    assert "the format is kept" in printed["lobtuna data check tick"]


def test_the_columns_of_imported_days_are_those_of_the_page(printed: dict[str, str]) -> None:
    """Every name in the page's table is a column, but for those of levels that these days do not have."""
    table = PAGE.split("### LOBSTER", 1)[1].split("`--horizon 20", 1)[0]
    named = set(re.findall(r"`([a-z][a-z_0-9]+)`", table.split("| columns | |", 1)[1]))
    schema = load_dataset(Path("tick")).schema
    there = {*schema.features, *schema.targets}
    assert {name for name in named if not re.fullmatch(r"[pv]\d+|\w+_7", name)} == {
        name for name in there if not re.fullmatch(r"[pv]\d+", name)
    }
