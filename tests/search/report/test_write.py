"""The report as a whole: every section, the same every time, written whole, of studies with little to say too."""

import json
from pathlib import Path
from typing import Any

import optuna
import plotly.graph_objects as go
import pytest
from optuna.storages import BaseStorage, InMemoryStorage
from optuna.trial import TrialState, create_trial

from lobmodels.errors import OutputError
from search.report import Report, build_report, write_report
from search.study.create import create_in
from search.studyfile.spec import StudySpec, load_spec
from tests.made_study import SPEC, add_all, make_study
from tests.search.report.page_content import figures, tags

KEYS = {
    "progress", "seeds", "report", "importance", "effects", "pairs", "next", "curves", "peaks", "pruning", "targets",
    "ensembles", "shift", "workers", "failures", "parallel", "trials",
}  # fmt: skip


def test_every_section_is_there(report: Report) -> None:
    """All that a report promises has its section, in the page and in its contents."""
    assert {section.key for section in report.page.sections} == KEYS
    html_ids = {attrs.get("id") for tag, attrs in tags(report.html) if tag == "section"}
    assert html_ids >= KEYS
    for key in KEYS:
        assert f'href="#{key}"' in report.html


def test_it_is_the_same_every_time() -> None:
    """Two reports of one study agree in every number: nothing depends on an unseeded draw."""
    study = make_study(InMemoryStorage(), 40, replicates=(2, 2))
    first, again = build_report(study), build_report(study)
    assert again.files == first.files
    assert [spec for _, spec in figures(again)] == [spec for _, spec in figures(first)]


def test_the_next_study_is_ready_to_run(report: Report, tmp_path: Path) -> None:
    """next.yaml passes the checks of `create`, asks a question, and starts from the best configurations."""
    path = tmp_path / "next.yaml"
    path.write_text(report.files["next.yaml"])
    spec = load_spec(path)
    assert spec.name == "joint-next"
    assert spec.question
    assert 1 <= len(spec.baselines) <= 3
    assert spec.pruner == SPEC.pruner
    create_in(InMemoryStorage(), spec)


def test_written_whole(tmp_path: Path) -> None:
    """The folder holds the page and its tables and nothing half written; a second report replaces the first."""
    study = few(InMemoryStorage())
    page = write_report(study, tmp_path / "out")
    before = page.read_text()
    assert write_report(study, tmp_path / "out") == page
    assert len(page.read_text()) == len(before)
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"report.html", "trials.csv", "next.yaml"} <= names
    assert not [name for name in names if name.startswith(".")]


def test_a_folder_that_is_none(tmp_path: Path) -> None:
    """A file where the folder should be is one clear error that says what to do."""
    study = empty(InMemoryStorage())
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="choose another `output`"):
        write_report(study, tmp_path / "file")


def empty(storage: BaseStorage) -> optuna.Study:
    return create_in(storage, SPEC)


def one_trial(storage: BaseStorage) -> optuna.Study:
    return make_study(storage, 1, failures=0)


def all_failed(storage: BaseStorage) -> optuna.Study:
    return make_study(storage, 12, failures=1)


def few(storage: BaseStorage) -> optuna.Study:
    return make_study(storage, 6, failures=0)


def one_waiting(storage: BaseStorage) -> optuna.Study:
    study = create_in(storage, SPEC)
    study.enqueue_trial({"lr": 1e-3})
    return study


def nothing_searched(storage: BaseStorage) -> optuna.Study:
    """All parameters fixed: the same run under many seeds."""
    document = SPEC.to_json() | {"name": "fixed", "parameters": {"hidden_size": 32, "epochs": 20}}
    return make_study(storage, 30, spec=StudySpec.from_json(document))


def without_report_sequences(storage: BaseStorage) -> optuna.Study:
    document = SPEC.to_json() | {"validation": {"report_fraction": 0.0}}
    study = make_study(storage, 40, spec=StudySpec.from_json(document))
    for trial in storage.get_all_trials(study._study_id, deepcopy=False):
        for name in [name for name in trial.user_attrs if name.startswith("report_")]:
            del trial.user_attrs[name]
    return study


def bare_trials(storage: BaseStorage) -> optuna.Study:
    """Finished trials without a single attribute, as somebody's script might leave them."""
    study = create_in(storage, SPEC)
    distribution = optuna.distributions.FloatDistribution(2e-4, 3e-3, log=True)
    add_all(study, [_bare(distribution, i) for i in range(25)])
    return study


def _bare(distribution: Any, i: int) -> Any:
    lr = 2e-4 + 1e-4 * i
    state = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)[i % 3]
    value = None if state == TrialState.FAIL else 0.2 + 0.001 * i
    return create_trial(state=state, value=value, params={"lr": lr}, distributions={"lr": distribution})


def strange_attributes(storage: BaseStorage) -> optuna.Study:
    """Attributes of the right names and wrong kinds."""
    study = make_study(storage, 30)
    for i, trial in enumerate(storage.get_all_trials(study._study_id, deepcopy=False)):
        trial.user_attrs.update(
            [{"history": "none"}, {"seconds": None}, {"best_epoch": "5"}, {"device": 3}, {"select_t0": "x"}][i % 5]
        )
        trial.user_attrs["configuration"] = {**trial.user_attrs["configuration"], "dropout": [0.1], "loss": None}
    return study


STUDIES = [
    empty, one_trial, all_failed, few, one_waiting, nothing_searched, without_report_sequences, bare_trials,
    strange_attributes,
]  # fmt: skip


@pytest.mark.parametrize("make", STUDIES)
def test_studies_with_little_to_say(make: Any, tmp_path: Path) -> None:
    """Every section is there and says why it has nothing to show; the next study file is valid all the same."""
    report = build_report(make(InMemoryStorage()))
    assert {section.key for section in report.page.sections} == KEYS
    for section in report.page.sections:
        assert section.text or section.figures or section.tables
        assert "nan" not in section.text.lower().split()
    for _, spec in figures(report):
        go.Figure(spec)
        json.dumps(spec, allow_nan=False)
    path = tmp_path / "next.yaml"
    path.write_text(report.files["next.yaml"])
    load_spec(path)


def test_all_failed_says_so() -> None:
    """A study in which everything failed leads with that."""
    report = build_report(all_failed(InMemoryStorage()))
    text = " ".join(section.finding for section in report.page.sections)
    assert "100\u00a0% of the trials failed" in text
    assert any("no best score" in section.text for section in report.page.sections)
