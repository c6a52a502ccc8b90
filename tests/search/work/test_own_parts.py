"""Networks, losses and features of plugins train several at once in a worker, are killed and resumed as any others."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState

from search.study.plugins import load_plugins, used_plugins
from search.study.record import read_trial
from search.studyfile.spec import StudySpec
from search.work.begin import create
from search.work.options import WorkOptions
from search.work.worker import work
from tests.machines import Worker, assert_sound, small_study, trials, wait_stored
from tests.pace import stand_still, stand_still_until_stopped
from tests.plugin_files import blocks_of_files, forgotten
from tests.search.work.aftermath import trained_alone

AT_ONCE = 3
FILES = ("causal.py", "quartic.py", "pressure.py")
BASELINES: list[dict[str, Any]] = [
    {"architecture": "causal_conv", "taps": 4, "loss": "quartic", "quartic_share": 0.3, "pressure": False},
    {"architecture": "gru", "loss": "quartic", "quartic_share": 0.1, "pressure": True, "half_life": 4.0},
    {"architecture": "causal_conv", "taps": 8, "loss": "mse", "pressure": True, "half_life": 30.0},
]


@pytest.fixture(autouse=True)
def _forgotten() -> Iterator[None]:
    with forgotten():
        yield


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, ...]:
    """The parts of the page on plugins, in their files."""
    for name in FILES:
        (tmp_path / name).write_text(blocks_of_files()[name])
    return tuple(str(tmp_path / name) for name in FILES)


def own_study(url: str, files: tuple[str, ...], epochs: int) -> None:
    """A study whose three runs differ in every part of a plugin, and in the parameters of their features."""
    parameters = {
        "architecture": {"choices": ["gru", "causal_conv"]},
        "taps": {"int": [4, 8], "when": {"architecture": "causal_conv"}},
        "loss": {"choices": ["mse", "quartic"]},
        "quartic_share": {"float": [0.0, 0.5], "when": {"loss": "quartic"}},
        "pressure": {"choices": [True, False]},
        "half_life": {"float": [4.0, 30.0], "when": {"pressure": True}},
        "normalizer": "zscore",
        "hidden_size": 4,
        "num_layers": 2,
        "dropout": 0.2,
        "batch_size": 8,
        "epochs": epochs,
        "early_stopping": epochs,
    }
    sources = load_plugins(files)
    spec = small_study(trials=AT_ONCE, epochs=epochs, parameters=parameters, baselines=BASELINES)
    create(spec, url, plugins=used_plugins(spec, sources, len(files)))


def assert_as_alone(url: str, data: Path) -> None:
    """Every trial is complete with the value that it has when trained alone, bit for bit."""
    for trial in trials(url):
        assert trial.state == TrialState.COMPLETE
        assert trial.value == trained_alone(data, trial), trial.number


def test_killed_with_three_at_once(small_data: Path, sqlite_url: str, files: tuple[str, ...], tmp_path: Path) -> None:
    """kill -9 of a worker that had named the files: another, which trusts what the study stores, resumes each run."""
    own_study(sqlite_url, files, epochs=4)
    first = Worker(
        sqlite_url, "small", small_data, tmp_path, partial(stand_still, 2), runs_per_device=AT_ONCE, plugins=files
    )
    wait_stored(sqlite_url, epochs=2, numbers=range(AT_ONCE))
    first.kill()
    assert [trial.state for trial in trials(sqlite_url)] == [TrialState.RUNNING] * AT_ONCE
    second = Worker(sqlite_url, "small", small_data, tmp_path, runs_per_device=AT_ONCE, trust_plugins=True)
    assert second.join() == 0, second.error
    assert sorted(event.trial for event in second.events if event.kind == "resume") == [0, 1, 2]
    assert [trial.user_attrs["attempt"] for trial in trials(sqlite_url)] == [2] * AT_ONCE
    assert_sound(sqlite_url)
    assert_as_alone(sqlite_url, small_data)


@pytest.mark.soak
def test_a_signal_hands_all_three_back(
    small_data: Path, sqlite_url: str, files: tuple[str, ...], tmp_path: Path
) -> None:
    """SIGTERM: each run is stored at the end of its epoch and queued; a peer goes on from there."""
    own_study(sqlite_url, files, epochs=3)
    options: dict[str, Any] = {"runs_per_device": AT_ONCE, "grace": 600.0, "checkpoint_every": 600.0, "plugins": files}
    leaving = Worker(sqlite_url, "small", small_data, tmp_path, partial(stand_still_until_stopped, 1), **options)
    for number in range(AT_ONCE):
        leaving.wait_epoch(0, trial=number)
    leaving.terminate()
    assert leaving.join() == 0
    assert [trial.state for trial in trials(sqlite_url)] == [TrialState.WAITING] * AT_ONCE
    peer = Worker(sqlite_url, "small", small_data, tmp_path, **options)
    assert peer.join() == 0, peer.error
    assert all(trial.user_attrs["attempt"] == 1 for trial in trials(sqlite_url))
    assert_as_alone(sqlite_url, small_data)


def test_a_worker_without_trust_leaves_three_runs_alone(
    small_data: Path, sqlite_url: str, files: tuple[str, ...], tmp_path: Path
) -> None:
    """It ends with the one line of a refusal before it has claimed anything."""
    own_study(sqlite_url, files, epochs=2)
    stranger = Worker(sqlite_url, "small", small_data, tmp_path, runs_per_device=AT_ONCE)
    assert stranger.join() != 0
    assert "its source came from the database and is not run here unless you trust it" in stranger.error
    assert [trial.state for trial in trials(sqlite_url)] == [TrialState.WAITING] * AT_ONCE


def test_features_that_fail_on_the_data_end_their_run_alone(small_data: Path, sqlite_url: str, tmp_path: Path) -> None:
    """A logarithm of signed volumes: that trial fails and says which feature and step; the others go on."""
    (tmp_path / "logs.py").write_text(
        "from lobtuna.plugins import features\n"
        '@features("logs", reads=["v0"], gives=["log_v0"])\ndef logs(x, config):\n    return x.log()\n'
    )
    parameters: dict[str, Any] = {**small_study().to_json()["parameters"], "logs": {"choices": [True, False]}}
    sources = load_plugins([tmp_path / "logs.py"])
    baselines = [{"lr": 0.001 * i, "head": "linear", "logs": i == 2} for i in (1, 2, 3)]
    document = {**small_study(trials=AT_ONCE).to_json(), "parameters": parameters, "baselines": baselines}
    spec = StudySpec.from_json(document)
    create(spec, sqlite_url, plugins=used_plugins(spec, sources, 1))
    options = WorkOptions(device="cpu", runs_per_device=AT_ONCE, keep_folder=tmp_path)
    assert work(sqlite_url, "small", small_data, options=options).outcomes == {"complete": 2, "failed": 1}
    failed = read_trial("small", trials(sqlite_url)[1])
    assert failed.state == "failed" and "feature log_v0 of a plugin is not a finite number" in failed.reason
