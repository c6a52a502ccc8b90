"""What the functions return says in one line what was done, and holds the rest as a table."""

from __future__ import annotations

import pytest

import lobtuna
from search.errors import SearchError


def test_a_ranking_says_whether_anything_was_repeated(study: lobtuna.Study, searched: str) -> None:
    """Its rows are the configurations; a plot needs repeated ones."""
    ranked = lobtuna.rank("joint", searched)
    assert "4 repeated" in repr(ranked) and len(ranked.plot(3).data) >= 2
    table = ranked.table()
    assert table.column("rank") == list(range(1, len(ranked.rows) + 1)) and "lr" in table.columns
    assert table.column("estimate")[:4] == sorted(table.column("estimate")[:4], reverse=True)


def test_unrepeated_configurations_have_no_plot() -> None:
    """It says what to call first."""
    from search.study.named import StudyRanking
    from search.study.ranking import Ranking

    with pytest.raises(SearchError, match="no configuration of 'x' was repeated"):
        lobtuna.Ranked(StudyRanking("x", Ranking(()), 0.25)).plot()


def test_members_are_a_table(study: lobtuna.Study, tmp_path) -> None:  # type: ignore[no-untyped-def]
    """One line a member of the zip, with its weight for each target."""
    exported = lobtuna.export(study, tmp_path / "s.zip", members=study.best(2))
    assert exported.table().column("run") == [run.name for run in study.best(2)]
    assert exported.table().column("weight_t1") == [0.5, 0.5] and "2 members" in exported._repr_html_()
