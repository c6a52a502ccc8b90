"""A finished run that was saved to disk is stored in the database later, exactly once."""

from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from search.errors import SearchError
from search.work.rescue import SavedRun, submit
from storage.artifacts import download
from storage.backends.registry import open_storage
from storage.store import artifacts_of
from tests.machines import create, small_study
from tests.search.work.faults import saved_run


@pytest.mark.parametrize("state", [None, TrialState.WAITING, TrialState.FAIL])
def test_a_saved_run_is_stored_whatever_became_of_its_trial(state: TrialState | None, tmp_path: Path) -> None:
    """Still claimed, queued again, or failed: the run is stored once, with weights, reports and parameters."""
    url = f"sqlite:///{tmp_path / 'study.db'}"
    study = create(url, small_study())
    path = saved_run(study, state).save(tmp_path)
    number, _ = submit(SavedRun.load(path), open_storage(url), "host:2")
    assert number == (1 if state == TrialState.FAIL else 0)
    trial = optuna.load_study(study_name="small", storage=open_storage(url)).trials[number]
    assert (trial.state, trial.value, trial.intermediate_values) == (TrialState.COMPLETE, 0.2, {0: 0.1, 1: 0.2})
    assert trial.params.keys() == {"lr"}
    assert download(artifacts_of(study), trial.user_attrs["checkpoint"]) == b"weights"
    again, text = submit(SavedRun.load(path), open_storage(url), "host:2")
    if state != TrialState.FAIL:
        assert (again, text) == (0, "was stored before; nothing to do")


def test_other_files_are_refused(tmp_path: Path) -> None:
    """A missing file, another file, a truncated one."""
    study = create(f"sqlite:///{tmp_path / 'study.db'}", small_study())
    path = saved_run(study, None).save(tmp_path)
    path.write_bytes(path.read_bytes()[:-40])
    (tmp_path / "notes.run").write_text("notes")
    for bad in (path, tmp_path / "notes.run", tmp_path / "absent.run"):
        with pytest.raises(SearchError):
            SavedRun.load(bad)
