"""`status`: for people, for scripts, and while it watches."""

import io
import json
from pathlib import Path

from rich.console import Console

from search.cli.status import workers_table
from search.study.open import open_study
from search.study.status import AtWork
from storage.backends.registry import open_storage
from tests.made_study import make_study
from tests.search.cli.calls import FILE, Run


def test_status_for_people_and_for_scripts(run: Run, searched: str) -> None:
    """States, best run, replicates and budget; the JSON has the promised names."""
    status, out, err = run("status", "joint", "--storage", searched)
    assert status == 0 and err == "" and max(len(line) for line in out.splitlines()) <= 80
    document = json.loads(run("status", "joint", "--storage", searched, "--json")[1])
    assert set(document["trials"]) == {"complete", "pruned", "failed", "running", "waiting"}
    assert sum(document["trials"].values()) == 40
    assert set(document["best"]) == {"number", "value", "seed", "configuration"}
    best = max(t.value for t in open_study(searched, "joint").trials if t.state.name == "COMPLETE")
    assert document["best"]["value"] == best
    assert document["replicates"]["complete"] == 12 and "replicates 12 complete" in out
    assert document["budget"]["trials"] == {"used": 40, "limit": 200, "left": 160}
    assert document["workers"] == [] and "workers    none" in out


def test_status_of_an_empty_study(run: Run, tmp_path: Path) -> None:
    """Before the first trial there is no best, and that is said."""
    (tmp_path / "tiny.yaml").write_text(FILE)
    run("create", "tiny.yaml")
    assert json.loads(run("status", "tiny", "--json")[1])["best"] is None
    assert "no run is complete yet" in run("status", "tiny")[1]
    assert run("status", "tiny", "--watch", "--json")[0] == 2
    assert "has no complete run yet: lobtuna work tiny" in run("rank", "tiny")[2]
    assert "no complete run yet" in run("replicate", "tiny")[2]


def test_watching_ends_with_the_study(run: Run, tmp_path: Path) -> None:
    """In a pipe each change is a line; when nothing is left to wait for the command returns."""
    url = f"sqlite:///{tmp_path / 'over.db'}"
    from tests.made_study import SPEC

    over = SPEC.model_copy(update={"budget": SPEC.budget.model_copy(update={"trials": 5})})
    make_study(open_storage(url), 5, spec=over)
    status, out, _ = run("status", "joint", "--storage", url, "--watch", "--every", "0.2")
    assert status == 0 and len(out.splitlines()) == 1 and "0 running, 0 waiting; best 0." in out


def test_status_opens_with_the_headline(run: Run, searched: str) -> None:
    """Best configuration with its interval on both kinds of sequences, budget, and one step with a command that
    reaches the same database; the JSON holds the same."""
    out = " ".join(run("status", "joint", "--storage", searched)[1].split())
    document = json.loads(run("status", "joint", "--storage", searched, "--json")[1])["headline"]
    first = document["rows"][0]
    assert first["label"] == "best" and first["select"]["low"] < first["select"]["value"] < first["select"]["high"]
    assert f"selection {first['select']['value']:.4f} ({first['select']['low']:.4f}.." in out
    assert first["what"] in out and document["budget"] in out
    command = f"{document['step']['command']} --storage {searched}"  # a long path is folded at the screen's width
    assert command.replace(" ", "") in out.replace(" ", "")


def test_workers_with_the_use_of_their_gpus() -> None:
    """Each running trial with its epoch of how many, best score, and the GPU's use where it is known; without any, no
    such column."""
    known = AtWork("a:1", "Tesla T4", "joint", 7, 11, 0.2612, False, 30, 93)
    silent = AtWork("b:2", "cpu", "joint.seeds", 3, None, None, True, None, None)
    for workers, heads in (((known, silent), "trial epoch best GPU worker"), ((silent,), "trial epoch best worker")):
        console = Console(width=80, file=io.StringIO())
        console.print(workers_table("joint", workers))
        lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
        assert " ".join(lines[0].split()) == heads
        assert "b:2 (cpu), silent" in lines[-1] and "joint.seeds#3" in lines[-1]
    console = Console(width=80, file=io.StringIO())
    console.print(workers_table("joint", [known]))
    assert "12/30" in console.file.getvalue() and "93 %" in console.file.getvalue()  # type: ignore[attr-defined]
