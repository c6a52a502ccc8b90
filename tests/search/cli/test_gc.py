"""`gc`: says what it would remove, removes it, and leaves what is needed."""

from __future__ import annotations

import json
import time
from pathlib import Path

from search.study.open import open_study
from storage.artifacts import upload_bytes
from storage.store import artifacts_of
from tests.search.cli.calls import Run


def test_it_counts_then_removes(run: Run, exportable: str) -> None:
    """An artifact that nothing refers to goes, runs' checkpoints stay; a dry run only counts."""
    artifacts = artifacts_of(open_study(exportable, "joint"))
    stray = upload_bytes(artifacts, b"nobody's")
    time.sleep(1.1)
    gc = ("gc", "--storage", exportable, "--older-than", "1s")
    status, out, _ = run(*gc, "--dry-run")
    assert status == 0 and out.startswith("would remove 1 artifacts")
    document = json.loads(run(*gc, "--json")[1])
    assert (document["removed"], document["kept"], document["dry_run"]) == (1, 6, False)
    assert stray not in {entry.artifact_id for entry in artifacts.entries()}
    assert run(*gc)[1].startswith("removed 0 artifacts")


def test_young_bytes_are_left_alone(run: Run, exportable: str) -> None:
    """What was stored a moment ago may belong to an upload that is not over."""
    upload_bytes(artifacts_of(open_study(exportable, "joint")), b"just now")
    assert run("gc", "--storage", exportable)[1].startswith("removed 0 artifacts")
    time.sleep(1.1)
    assert run("gc", "--storage", exportable, "--older-than", "1s")[1].startswith("removed 1 artifacts")


def test_refusals(run: Run, exportable: str) -> None:
    """No database, a folder that is not there, or a duration that is none: nothing is created."""
    assert run("gc")[2].startswith("lobtuna: there is no database lobtuna.db; ")
    for folder in ("nowhere", f"file://{Path.cwd() / 'nowhere'}"):
        status, out, err = run("gc", "--storage", exportable, "--artifacts", folder)
        assert (status, out) == (1, "") and err.count("\n") == 1
        assert "nowhere is not there: name the one that the study was created with" in err
    assert not list(Path.cwd().iterdir())
    status, _, err = run("gc", "--older-than", "soon", "--storage", "sqlite:///x.db")
    assert status == 1 and err.count("\n") == 1


def test_foreign_files_are_counted_and_left(run: Run, exportable: str, tmp_path: Path) -> None:
    """A folder that the user shares with it: nothing there is this database's, so nothing goes."""
    shared = tmp_path / "shared"
    shared.mkdir()
    (shared / "thesis.tex").write_text("years of work")
    status, out, _ = run("gc", "--storage", exportable, "--artifacts", shared, "--older-than", "1s")
    assert status == 0
    assert "removed 0 artifacts" in out and "left 1 files (0.0 MB) that are not this database's" in out
    assert (shared / "thesis.tex").exists()
