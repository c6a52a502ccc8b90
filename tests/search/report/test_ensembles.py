"""The report shows the analysis of a pool where there is one of this study, and says how to get one where not."""

from pathlib import Path

import numpy as np
import optuna
import pytest
from optuna.storages import InMemoryStorage

from lobmodels.data import validation_split
from lobmodels.ensemble.analysis import analyse
from search.errors import ReportError
from search.report.page import Section
from search.report.write import build_report
from search.ship.analysis import write
from tests.made_study import make_study

N = 24


def analysis(folder: Path, study: str, report_fraction: float = 0.25, members: int = 5) -> Path:
    """What `lobtuna ensemble` writes of runs of `study` that share a signal."""
    rng = np.random.default_rng(0)
    y = rng.standard_t(3, (N, 60, 2)).astype(np.float32)
    found = [(0.1 * y + 0.2 * rng.standard_normal(y.shape)).astype(np.float32) for _ in range(members)]
    names = [f"{study}.seeds#{i}" if i % 2 else f"{study}#{i}" for i in range(members)]
    select, report = validation_split(N, report_fraction)
    folder.mkdir(exist_ok=True)
    write(analyse(names, found, y, {"select": select, "report": report}), folder)
    return folder


@pytest.fixture(scope="module")
def study() -> optuna.Study:
    return make_study(InMemoryStorage(), 20)


def section(study: optuna.Study, folder: Path | None = None) -> Section:
    (found,) = [part for part in build_report(study, analysis=folder).page.sections if part.key == "ensembles"]
    return found


def test_shown_where_it_is(study: optuna.Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Named, or in the folder where `ensemble` writes: two figures, the weights, and what averaging gained."""
    named = section(study, analysis(tmp_path / "pool", "joint"))
    assert "5 runs of this study as members" in named.text and f"{N // 4} report sequences judge them" in named.text
    growth = named.figures[0].spec["data"]
    assert [trace["name"] for trace in growth[:2]] == ["selection", "selection, at random"]
    assert all(list(trace["x"]) == [1, 2, 3, 4, 5] for trace in growth)
    assert {row[0] for row in named.tables[0].rows} == {"uniform", "optimised", "shrunk", "greedy"}
    assert named.finding.startswith("Averaging the best 5 runs scores")
    monkeypatch.chdir(tmp_path)
    assert not section(study).figures
    analysis(tmp_path / "analysis", "joint")
    assert len(section(study).figures) == 2


def test_without_report_sequences(study: optuna.Study, tmp_path: Path) -> None:
    """A study that set none aside shows the selection sequences alone, and says so."""
    found = section(study, analysis(tmp_path / "pool", "joint", report_fraction=0.0))
    assert len(found.figures[0].spec["data"]) == 2
    assert "on the selection sequences" in found.finding


def test_none_at_hand(study: optuna.Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing there, or of another study: the command that makes one."""
    monkeypatch.chdir(tmp_path)
    assert "lobtuna ensemble joint --data" in section(study).text
    analysis(tmp_path / "analysis", "other")
    assert "lobtuna ensemble joint --data" in section(study).text


def test_a_named_folder_must_fit(study: optuna.Study, tmp_path: Path) -> None:
    """What was asked for by name and is missing, broken or another study's is an error, not an empty section."""
    with pytest.raises(ReportError, match="holds no analysis that can be read"):
        section(study, tmp_path / "nowhere")
    with pytest.raises(ReportError, match=r"of other runs \(other.*\), not of study 'joint'"):
        section(study, analysis(tmp_path / "strange", "other"))
    broken = analysis(tmp_path / "broken", "joint")
    (broken / "optimal_weights.json").write_text("{")
    with pytest.raises(ReportError, match="holds no analysis that can be read"):
        section(study, broken)
