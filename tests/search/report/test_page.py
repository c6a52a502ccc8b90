"""The page: figures that say what they show, no network, its own scripts alone, strangers' text as text."""

import csv
import io
import json
import re
from pathlib import Path

import plotly.graph_objects as go
import pytest
from optuna.storages import InMemoryStorage

from search.report import Report, build_report
from search.studyfile.spec import StudySpec
from tests.made_study import SPEC, make_study
from tests.search.report.page_content import figures, tags

EVIL = "<img src=x onerror=alert(1)>&\"'</script><script>alert(2)</script>"


def policy(report: Report) -> str:
    """The content security policy of the page."""
    found = [
        attrs["content"] for tag, attrs in tags(report.html) if attrs.get("http-equiv") == "Content-Security-Policy"
    ]
    assert len(found) == 1
    return found[0] or ""


def test_every_figure_says_what_it_shows(report: Report) -> None:
    """Each figure has a sentence, is a document that plotly accepts, and says where scores come from if it has any."""
    assert len(list(figures(report))) > 15
    for section in report.page.sections:
        for figure in section.figures:
            assert figure.text.endswith(".")
            assert len(figure.text) > 20
            go.Figure(figure.spec)  # raises for anything plotly does not know
            titles = [figure.spec["layout"][axis].get("title", {}).get("text") for axis in ("xaxis", "yaxis")]
            if "score" in titles:
                assert figure.sequences is not None, figure.text


def test_scores_say_where_they_come_from(report: Report) -> None:
    """The page marks every figure of scores with its sequences."""
    assert "scores: selection sequences" in report.html
    assert "scores: report sequences" in report.html


def test_the_page_needs_no_network(report: Report) -> None:
    """Nothing is loaded from anywhere: no source, no link but anchors and the files beside the page."""
    files = set(report.files)
    for tag, attrs in tags(report.html):
        assert "src" not in attrs, (tag, attrs)
        if tag == "link":
            pytest.fail(f"the page links {attrs}")
        if tag == "a":
            target = attrs["href"] or ""
            assert target.startswith("#") or target in files
    assert "default-src 'none'" in policy(report)
    assert "@import" not in report.html.split("</style>")[0]


def test_only_its_own_scripts_may_run(report: Report) -> None:
    """The policy names two scripts by their hashes; no attribute holds script."""
    policy = next(
        a["content"] for t, a in tags(report.html) if t == "meta" and "Security" in (a.get("http-equiv") or "")
    )
    assert policy is not None
    assert len(re.findall("'sha256-[A-Za-z0-9+/=]+'", policy)) == 2
    assert "unsafe-eval" not in policy
    assert not any(name.startswith("on") for _, attrs in tags(report.html) for name in attrs)


def test_html_in_names_is_text(tmp_path: Path) -> None:
    """Markup in the question, in workers, devices, reasons and values is shown as it is: no element comes of it."""
    document = SPEC.to_json() | {"question": EVIL}
    study = make_study(InMemoryStorage(), 40, spec=StudySpec.from_json(document), replicates=(3, 2))
    for trial in study._storage.get_all_trials(study._study_id, deepcopy=False):
        attrs = trial.user_attrs
        attrs |= {"worker": f"{EVIL}:1", "device": EVIL, "reason": EVIL}
        attrs["configuration"] = {**attrs["configuration"], "loss": EVIL, EVIL: EVIL}
    report = build_report(study)
    found = tags(report.html)
    assert not [tag for tag, _ in found if tag == "img"]
    kinds = [attrs.get("type") for tag, attrs in found if tag == "script"]
    assert kinds.count(None) == 2
    assert len(kinds) - 2 == len(list(figures(report)))
    data = re.findall(r'<script type="application/json">(.*?)</script>', report.html, re.S)
    assert len(data) == len(kinds) - 2
    for text in data:  # plotly reads markup in labels: none may reach it
        assert "<img" not in json.dumps(json.loads(text))
        assert "<script" not in json.dumps(json.loads(text))
    assert "&lt;img" in report.html


def test_a_spreadsheet_runs_nothing() -> None:
    """A cell that begins like a formula is marked as text."""
    study = make_study(InMemoryStorage(), 10)
    for trial in study._storage.get_all_trials(study._study_id, deepcopy=False):
        trial.user_attrs["worker"] = '=HYPERLINK("http://evil")'
    rows = list(csv.DictReader(io.StringIO(build_report(study).files["trials.csv"])))
    assert rows[0]["worker"].startswith("'=")
    assert float(rows[0]["select_mean"]) > 0  # a number stays one
