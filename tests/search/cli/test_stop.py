"""`stop`: the request is stored, and the user reads what happens next."""

import json
from pathlib import Path

import optuna
import pytest

from search.study.halt import stop_of
from search.study.open import open_study
from storage.claims import Claim
from storage.optuna_internals import study_id_of
from storage.store import store_of
from tests.machines import create, small_study
from tests.search.cli.calls import Run


def test_stop_asks_and_says_how_to_go_on(run: Run, tmp_path: Path) -> None:
    """Without workers it says so; the way back is a command with the same database."""
    url = f"sqlite:///{tmp_path / 'study.db'}"
    create(url, small_study())
    status, out, err = run("stop", "small", "--storage", url, "--now")
    assert (status, err) == (0, "")
    assert "no trial is running" in out and f"lobtuna work small --storage {url}" in out
    request = stop_of(open_study(url, "small").user_attrs)
    assert request is not None and request.now
    document = json.loads(run("stop", "small", "--storage", url, "--json")[1])
    assert document == {"study": "small", "now": False, "running": 0, "unknown": 0}
    assert stop_of(open_study(url, "small").user_attrs) != request


@pytest.mark.parametrize("now", [False, True])
def test_a_study_of_replicates_is_stopped_by_way_of_its_study(run: Run, tmp_path: Path, now: bool) -> None:
    """Their workers are those of the study: they read the request there, and the message names it."""
    url = f"sqlite:///{tmp_path / 'study.db'}"
    create(url, small_study())
    seeds = create(url, small_study("small.seeds"))
    hold(seeds, Claim("a:1"))
    _, out, _ = run("stop", "small.seeds", "--storage", url, *(["--now"] if now else []))
    what, go_on = out.splitlines()
    assert what == (
        "small.seeds is trained by the workers of small: 1 running trial will be handed back within 20 s and "
        f"their present {'batch' if now else 'epoch'}"
    )
    assert go_on.startswith("go on with: lobtuna work small --storage")
    request = stop_of(open_study(url, "small").user_attrs)
    assert request is not None and request.now is now


def test_only_trials_that_a_living_worker_holds_are_promised_back(run: Run, tmp_path: Path) -> None:
    """A copy that a rename in the dashboard made has no claim: whether anyone trains it is not known."""
    url = f"sqlite:///{tmp_path / 'study.db'}"
    study = create(url, small_study())
    study.ask()
    unknown = "1 running trial has no worker that can be seen to live: a living one hands it back"
    out = run("stop", "small", "--storage", url)[1]
    assert out.splitlines()[0] == f"{unknown}; workers that wait for work end within 40 s"
    hold(study, Claim("a:1"))
    out = run("stop", "small", "--storage", url)[1]
    assert out.splitlines()[0] == f"1 running trial will be handed back within 20 s and their present epoch; {unknown}"
    document = json.loads(run("stop", "small", "--storage", url, "--json")[1])
    assert (document["running"], document["unknown"]) == (1, 1)


def hold(study: optuna.Study, claim: Claim) -> None:
    """A worker that is alive begins a trial."""
    store_of(study).fleet.seize(store_of(study).storage.create_new_trial(study_id_of(study)), claim)


def test_an_unknown_study_is_named(run: Run, tmp_path: Path) -> None:
    """A misspelt name stops nothing."""
    url = f"sqlite:///{tmp_path / 'study.db'}"
    create(url, small_study())
    status, _, err = run("stop", "smal", "--storage", url)
    assert status == 1 and "did you mean small?" in err
