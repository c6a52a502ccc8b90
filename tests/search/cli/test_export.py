"""`export`: what it prints of the submission that it wrote, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

from tests.search.cli.calls import Run


def test_it_says_what_it_wrote(run: Run, exportable: str, tmp_path: Path) -> None:
    """Members, weights and size on stdout; with --onnx the graph beside the zip; the same as JSON."""
    status, out, _ = run("export", "joint", "--top", "2", "--storage", exportable, "--onnx")
    assert status == 0
    assert "submission.zip: 2 members, uniform weights" in out and "joint.seeds#0" in out
    assert (tmp_path / "submission.onnx").is_file()
    (written,) = json.loads(run("export", "joint", "--top", "2", "--storage", exportable, "--json")[1])["submissions"]
    assert (written["path"], written["weights"], len(written["members"])) == ("submission.zip", "uniform", 2)


def test_it_refuses_what_cannot_be(run: Run, exportable: str) -> None:
    """No member named, no size at all, more runs than there are: the value and what to do."""
    status, _, err = run("export", "joint", "--members", "", "--storage", exportable)
    assert status == 1 and "--members names no run" in err
    assert run("export", "joint", "--max-mb", "0", "--storage", exportable)[0] == 2
    status, _, err = run("export", "joint", "--top", "20", "--storage", exportable)
    assert status == 1 and err.startswith("lobtuna: --top 20: study 'joint' has 6 runs with weights")


def test_options_are_named_as_they_are_typed(run: Run, exportable: str, small_data: Path, tmp_path: Path) -> None:
    """Refusals of the learning core come with the option's name, not the library's."""
    export = ("export", "joint", "--storage", exportable)
    for arguments, piece in (
        (("--weights", "greedy"), "name them with --data"),
        (("--weights", "0.5,0.3,0.2", "--top", "3", "--max-mb", "9"), "--max-mb and --max-seconds may leave members"),
        (("--candidates", "--weights", "1", "--data", small_data), "--candidates chooses the weights itself"),
        (("--max-mb", "0.002"), "not even one member fits into --max-mb 0.002"),
        (("--output", "taken/s.zip"), "choose another --output"),
    ):
        (tmp_path / "taken").write_text("a file")
        status, out, err = run(*export, *arguments)
        assert (status, out, err.count("\n")) == (1, "", 1) and piece in err
