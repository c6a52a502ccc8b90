"""The ensemble and the ridge of the first lines are scored as a submission is, once for each set of members."""

from __future__ import annotations

from pathlib import Path

import optuna
import pytest

from lobmodels.data import Dataset
from lobmodels.ensemble import blend
from lobmodels.metric import weighted_pearson
from search.errors import SearchError
from search.report.headline import headline
from search.report.record import read_study
from search.ship.export import Request, ship
from search.ship.members import Choice, choose, load_members
from search.ship.reference import score_references
from search.ship.validation import validate
from search.study.create import create_study
from search.study.record import FINGERPRINT
from search.studyfile.spec import StudySpec
from tests.search.trained_pool import DOCUMENT, SCORES, add_runs, make_study


@pytest.fixture
def own(tmp_path: Path, small_dataset: Dataset) -> optuna.Study:
    """A study of five runs with weights, bound to the small data."""
    study = make_study(f"sqlite:///{tmp_path / 'study.db'}", small_dataset.valid)
    study.set_user_attr(FINGERPRINT, small_dataset.fingerprint)
    add_runs(study, small_dataset.valid, SCORES)
    return study


def test_it_is_what_export_would_ship(
    own: optuna.Study, small_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The uniform average of the default members, on both kinds of sequences; the same members are not scored again."""
    found = score_references(own, small_data).ensemble
    (shipment,) = ship(f"sqlite:///{tmp_path / 'study.db'}", "joint", Request(), tmp_path / "zip.zip", small_data)
    runs = choose(own, Choice(members=tuple(member.name for member in shipment.bundle.members)))
    known = validate(load_members(own, runs), small_data)
    uniform = blend.uniform(len(runs), 2)
    assert found is not None and found.report is not None and found.members == tuple(run.name for run in runs)
    for part, score in (("select", found.select), ("report", found.report)):
        index = known.parts[part]
        expected = weighted_pearson(known.blended(known.members, uniform, index), known.targets[index]).mean()
        assert score.value == pytest.approx(expected, abs=1e-6)
        assert score.low is not None and score.high is not None and score.low <= score.value <= score.high
    monkeypatch.setattr("search.ship.reference.validate", None)
    assert score_references(own, small_data).ensemble == found


def test_every_reader_sees_it(own: optuna.Study, small_data: Path, small_dataset: Dataset) -> None:
    """It is stored with the study: the headline has ensemble and ridge; a new run asks for a new score."""
    score_references(own, small_data)
    rows = {row.label: row for row in headline(read_study(own)).rows}
    assert rows["ensemble"].what == "uniform average of 5 runs" and rows["ridge"].report is not None
    add_runs(own, small_dataset.valid, (0.3,), seed=50)
    assert headline(read_study(own)).rows[1].what.endswith("; 1 run finished since")
    again = score_references(own, small_data).ensemble
    assert again is not None and len(again.members) == 6


def test_other_data_and_no_run(tmp_path: Path, small_data: Path) -> None:
    """Another data set is refused; without a complete run only the ridge is scored."""
    study = create_study(StudySpec.from_json(DOCUMENT), f"sqlite:///{tmp_path / 'study.db'}")
    found = score_references(study, small_data)
    assert found.ensemble is None and found.ridge is not None
    study.set_user_attr(FINGERPRINT, "0" * 16)
    with pytest.raises(SearchError, match="belongs to data"):
        score_references(study, small_data)
