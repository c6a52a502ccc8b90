"""The commands as functions. `tests/docs/test_python_page.py` runs them all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import lobtuna
from search.errors import SearchError, SpecError, StudyExistsError
from storage.backends.registry import open_storage
from tests.made_study import make_study

SMALL: dict[str, Any] = {
    "name": "hand",
    "parameters": {"hidden_size": {"choices": [4, 6]}, "num_layers": 1, "batch_size": 12, "epochs": 1},
    "pruner": {"name": "none"},
    "budget": {"trials": 2},
}


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/hand.db"


def test_create_from_a_mapping_or_a_file(url: str, tmp_path: Path) -> None:
    """Both give the same study; a changed definition is refused, and applied with `revise`."""
    assert not lobtuna.create(SMALL, url).existed
    (tmp_path / "hand.yaml").write_text(
        "name: hand\nparameters: {hidden_size: {choices: [4, 6]}, num_layers: 1, batch_size: 12, epochs: 1}\n"
        "pruner: {name: none}\nbudget: {trials: 2}\n"
    )
    assert lobtuna.create(tmp_path / "hand.yaml", url).existed
    changed = {**SMALL, "budget": {"trials": 3}}
    with pytest.raises(StudyExistsError, match="add --revise"):
        lobtuna.create(changed, url)
    revised = lobtuna.create(changed, url, revise=True)
    assert revised.changes == {"budget.trials": (2, 3)} and revised.study.spec.budget.trials == 3
    with pytest.raises(SpecError, match="hidden_sise"):
        lobtuna.create({**SMALL, "parameters": {"hidden_sise": 4}}, url)


def test_work_counts_what_it_did(url: str, small_data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Trials by outcome and why it ended; progress is on stderr alone."""
    study = lobtuna.create(SMALL, url, data=small_data).study
    worked = lobtuna.work(study, small_data, trials=1)
    assert worked.outcomes == {"complete": 1} and "1 trials done here" in worked.stopped
    captured = capsys.readouterr()
    assert captured.out == "" and "hand #0" in captured.err
    with pytest.raises(TypeError, match="trails"):
        lobtuna.work(study, small_data, trails=1)


def test_refit_queues(url: str) -> None:
    """The command's counts and epochs; asked again it queues nothing, and `with_report` says what is given up."""
    make_study(open_storage(url), 12, replicates=(2, 2))
    study = lobtuna.open(url)["joint"]
    found = lobtuna.refit(study, top=2, seeds=2)
    assert found.queued == 4 and "4 refits queued, 0 there already" in repr(found)
    assert [row[0] for row in found.table().rows] == [row.trial for row in lobtuna.rank(study).rows[:2]]
    again = lobtuna.refit("joint", study.url, top=2, seeds=2)
    assert again.queued == 0 and again.found.ordered.present == 4
    assert "nothing is left to judge them by" in repr(lobtuna.refit(study, top=1, seeds=1, with_report=True))
    with pytest.raises(SearchError, match="--top 999 asks for more configurations"):
        lobtuna.refit(study, top=999)


def test_replicate_queues(study: lobtuna.Study) -> None:
    """The same options, and the counts that the command prints."""
    found = lobtuna.replicate(study, trials=[0], seeds=2)
    assert (found.queued, found.repeated.queued.present) == (0, 1) and "1 there already" in repr(found)
