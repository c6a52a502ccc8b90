"""A plain Optuna script and the plain dashboard read and write a study of lobtuna's."""

import io
import json
from pathlib import Path
from typing import Any

import optuna
import optuna_dashboard
from optuna.trial import TrialState

from search.study.open import open_study
from storage.backends.registry import open_storage
from tests.made_study import make_study


def test_a_plain_script_reads_and_adds_trials(tmp_path: Path) -> None:
    """`optuna.load_study` with the URL gives every trial as lobtuna does; what it tells, lobtuna reads."""
    url = f"sqlite:///{tmp_path / 'study.db'}"
    make_study(open_storage(url), 12)
    plain = optuna.load_study(study_name="joint", storage=url)
    ours = open_study(url, "joint")
    assert plain.get_trials() == ours.get_trials() and plain.best_value == ours.best_value
    trial = plain.ask()
    plain.tell(trial, 0.25)
    read = open_study(url, "joint").get_trials()[trial.number]
    assert (read.state, read.value) == (TrialState.COMPLETE, 0.25)


def test_the_plain_dashboard_shows_it(tmp_path: Path) -> None:
    """optuna-dashboard on the bare URL lists the study and all its trials."""
    url = f"sqlite:///{tmp_path / 'study.db'}"
    make_study(open_storage(url), 12)
    app = optuna_dashboard.wsgi(optuna.storages.RDBStorage(url))
    (summary,) = _get(app, "/api/studies")["study_summaries"]
    assert summary["study_name"] == "joint"
    assert len(_get(app, f"/api/studies/{summary['study_id']}")["trials"]) == 12


def _get(app: Any, path: str) -> Any:
    status: list[str] = []
    environ = {
        "REQUEST_METHOD": "GET",
        "PATH_INFO": path,
        "QUERY_STRING": "",
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(),
        "wsgi.errors": io.StringIO(),
    }
    body = b"".join(app(environ, lambda line, headers, *_: status.append(line)))
    assert status[0].startswith("200"), status
    return json.loads(body)
