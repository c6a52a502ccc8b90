"""The note and plots that workers keep: what they say, who writes when, and that they never disturb."""

import json
from pathlib import Path
from typing import Any

import optuna
import optuna_dashboard
import pytest
from optuna.storages import InMemoryStorage
from optuna.trial import TrialState

from search.report.note import EARLIER, NOTE_WRITER, YOURS, NoteKeeper, note_text, plain, write_note
from search.report.record import read_study
from search.studyfile.spec import StudySpec
from storage.backends.registry import open_storage
from storage.errors import DatabaseUnavailable
from tests.made_study import SPEC, make_study


@pytest.fixture
def study() -> optuna.Study:
    return make_study(InMemoryStorage(), 40, replicates=(2, 2))


class Clock:
    """A clock that moves when told to."""

    def __init__(self, now: float = 0.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def test_the_note_says_what_to_know(study: optuna.Study) -> None:
    """Question, counts, budget, data, sequences, the command to join and the ranking."""
    text = note_text(read_study(study), "host:1")
    assert "# joint" in text
    assert "Which recipe generalises best" in text
    assert "200 trials, 24 hours" in text
    assert "`f3a9c1d2e4b5f6a7`" in text
    assert "lobtuna work joint --storage $LOBTUNA_STORAGE --data" in text
    assert "| 1 | " in text
    assert "selection sequences" in text
    counts = read_study(study)
    assert f"{len(counts.of('complete'))} complete, {len(counts.of('pruned'))} pruned" in text


def test_the_note_says_why_trials_failed(study: optuna.Study) -> None:
    """Each reason with its count and the first trial, as plain text; a study without failures has no such part."""
    assert "## Failed" not in note_text(read_study(study))
    for reason in ("out of memory on cuda:0", "out of memory on cuda:1", "KeyError: 'a|b'"):
        trial = study.ask()
        trial.set_user_attr("reason", reason)
        study.tell(trial, state=TrialState.FAIL)
    text = note_text(read_study(study))
    first = len(study.trials) - 3
    assert f"| 2 | {plain('out of memory on cuda:0')} | {plain(f'joint#{first}')} |" in text
    assert f"| 1 | {plain(reason)} |" in text


def test_the_dashboard_reads_it(study: optuna.Study) -> None:
    """optuna-dashboard's own readers find the note and every plot, whole and as JSON."""
    from optuna_dashboard._custom_plot_data import get_plotly_graph_objects

    write_note(study)
    assert optuna_dashboard.get_note(study).startswith("# joint")
    plots = get_plotly_graph_objects(study._storage.get_study_system_attrs(study._study_id))
    assert set(plots) == {"progress", "learning-curves", "ranking"}
    for plot in plots.values():
        assert json.loads(plot)["data"]
        assert len(plot) < 150_000


def test_plots_of_many_trials_stay_small() -> None:
    """Two thousand trials make a plot no larger than a few hundred do."""
    study = make_study(InMemoryStorage(), 1200)
    write_note(study)
    attributes = study._storage.get_study_system_attrs(study._study_id)
    assert max(len(str(value)) for value in attributes.values()) < 60_000


def test_markdown_in_names_is_text() -> None:
    """Whatever a question or a worker is called, nothing of it is read as Markdown, HTML or a further table cell."""
    evil = "<b>x</b> | *y* [z](javascript:1) `q` # h\n- item"
    study = make_study(InMemoryStorage(), 5, spec=StudySpec.from_json(SPEC.to_json() | {"question": evil}))
    text = note_text(read_study(study), evil)
    assert "<b>" not in text.replace("\\<b\\>", "")
    assert "\n- item" not in text
    assert plain("a|b") == "a\\|b"
    assert "[z](" not in text


def test_your_own_note_stays(study: optuna.Study) -> None:
    """What people save is never changed, whether before ours or in its place; the facts are then a plot. A note that
    they empty is written again."""
    optuna_dashboard.save_note(study, "Ask Ada about the third run. " * 200)
    for _ in range(2):
        write_note(study, "host:1")
        assert optuna_dashboard.get_note(study) == "Ask Ada about the third run. " * 200
    assert "dashboard:plot_data:overview:0" in study._storage.get_study_system_attrs(study._study_id)
    optuna_dashboard.save_note(study, "")
    for _ in range(2):
        write_note(study, "host:1")
    assert optuna_dashboard.get_note(study).startswith("# joint")
    optuna_dashboard.save_note(study, optuna_dashboard.get_note(study) + "And this.")
    write_note(study, "host:2")
    assert optuna_dashboard.get_note(study).endswith("And this.")
    assert "host:2" not in optuna_dashboard.get_note(study)


def test_a_note_of_an_earlier_version_is_written_over(study: optuna.Study) -> None:
    """Unless somebody has added words of their own below it."""
    for words in ("", "Mine."):
        optuna_dashboard.save_note(study, f"# joint\n\n---\n\n{EARLIER}\n{words}")
        write_note(study)
        assert ("Mine." in optuna_dashboard.get_note(study)) == bool(words)
        assert (YOURS in optuna_dashboard.get_note(study)) != bool(words)


def test_the_replicates_have_a_note(study: optuna.Study) -> None:
    """The study of replicates says whose they are."""
    write_note(study)
    seeds = optuna.load_study(study_name="joint.seeds", storage=study._storage)
    assert "Replicates of joint" in optuna_dashboard.get_note(seeds)


def keeper(study: optuna.Study, worker: str, clock: Clock) -> NoteKeeper:
    return NoteKeeper(study._storage, "joint", worker, period=60.0, clock=clock)


def test_one_worker_at_a_time(study: optuna.Study) -> None:
    """The first writes at once; the others wait a whole period by their own clocks, however these are set."""
    a, b = Clock(0.0), Clock(1e6)
    first, second = keeper(study, "a:1", a), keeper(study, "b:1", b)
    assert first.tick()
    assert not second.tick()
    b.now += 59
    assert not second.tick()
    b.now += 30
    assert second.tick()
    a.now += 100
    assert not first.tick()  # it sees that another was there, and waits again
    assert str(study.user_attrs[NOTE_WRITER]).startswith("b:1/")


def test_the_rate_does_not_grow_with_the_workers(study: optuna.Study, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten workers over ten minutes write about ten notes, not a hundred."""
    written: list[str] = []
    monkeypatch.setattr("search.report.note.write_note", lambda study, worker: written.append(worker))
    clock = Clock()
    keepers = [keeper(study, f"w{i}:1", clock) for i in range(10)]
    for _ in range(60):
        clock.now += 10
        for each in keepers:
            each.tick()
    assert 5 <= len(written) <= 11


@pytest.mark.parametrize(
    "error", [DatabaseUnavailable("away"), KeyError("deleted"), optuna.exceptions.OptunaError("x")]
)
def test_trouble_is_logged_not_raised(
    study: optuna.Study, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    """A database that is away, or a study deleted meanwhile, costs a line in the log and nothing else."""

    def fail(*_: Any) -> None:
        raise error

    monkeypatch.setattr("search.report.note.write_note", fail)
    notes = keeper(study, "a:1", Clock())
    notes.start()
    notes.stop()
    assert "was not written" in caplog.text


def test_a_worker_leaves_a_note(tmp_path: Path, small_data: Path) -> None:
    """A real worker on a real study: when it stops, the note tells how things stand."""
    from search.study.create import create_study
    from search.work.options import WorkOptions
    from search.work.worker import work

    url = f"sqlite:///{tmp_path}/studies.db"
    document = {
        "name": "tiny",
        "parameters": {"hidden_size": {"int": [4, 8]}, "num_layers": 1, "epochs": 2, "batch_size": 12},
        "pruner": {"name": "none"},
        "budget": {"trials": 2},
    }
    create_study(StudySpec.from_json(document), url)
    work(url, "tiny", small_data, options=WorkOptions(device="cpu"))
    study = optuna.load_study(study_name="tiny", storage=open_storage(url))
    assert "2 complete" in optuna_dashboard.get_note(study)
