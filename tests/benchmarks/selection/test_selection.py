"""`make bench-selection`: docs/selection-proof.md on the data beside this checkout, or a minute of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.benchmarks.selection import arms


@pytest.mark.bench
@pytest.mark.timeout(4 * 3600)
def test_folds_against_the_fixed_split(
    real_lob: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Prints the tables of a short budget; the page's have more."""
    arguments = [
        "arms",
        "--data",
        str(real_lob),
        "--output",
        str(tmp_path),
        "--seconds",
        "120",
        "--configurations",
        "6",
    ]
    monkeypatch.setattr("sys.argv", arguments)
    arms.main()
    assert "minus fixed" in capsys.readouterr().out
