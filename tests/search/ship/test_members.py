"""From a study's runs to submissions: the members that were asked for, weighed as asked, within the limits."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import optuna
import pytest

from lobmodels.data import Dataset
from lobmodels.ensemble.bundle import read_submission, zip_bytes
from lobmodels.errors import BundleError
from search.cli import main
from search.errors import SearchError
from search.ship.export import Request, ship
from search.ship.members import Choice, choose, load_members
from tests.search.trained_pool import add_replicate, add_runs, make_study

optuna.logging.set_verbosity(optuna.logging.WARNING)
SCORES = (0.20, 0.26, 0.24, 0.25, 0.22)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory, small_dataset: Dataset) -> str:
    """A study of five runs and one replicate of the first configuration."""
    url = f"sqlite:///{tmp_path_factory.mktemp('study') / 'study.db'}"
    study = make_study(url, small_dataset.valid)
    add_runs(study, small_dataset.valid, SCORES)
    add_replicate(study, small_dataset.valid, 0.27, 1_000_000)
    return url


@pytest.fixture(scope="module")
def study(url: str) -> optuna.Study:
    """The study, opened."""
    from search.ship.members import open_pool

    return open_pool(url, "joint")


def names(study: optuna.Study, **choice: object) -> list[str]:
    return [run.name for run in choose(study, Choice(**choice))]  # type: ignore[arg-type]


def test_best_runs_first_replicates_included(study: optuna.Study) -> None:
    """The K best by selection score, whether the search or `replicate` made them."""
    assert names(study, top=3) == ["joint.seeds#0", "joint#1", "joint#3"]
    assert len(names(study)) == 6


def test_more_than_there_are(study: optuna.Study) -> None:
    """Too large a K is refused with what there is."""
    with pytest.raises(
        SearchError, match=r"--top 9: study 'joint' has 6 runs with weights; take them all with --top 6"
    ):
        names(study, top=9)


def test_at_most_so_many_of_one_configuration(study: optuna.Study) -> None:
    """--per-config 1 takes the best run of each configuration; --top counts what is left."""
    assert names(study, per_config=1) == ["joint.seeds#0", "joint#1", "joint#2"]
    with pytest.raises(SearchError, match="has 3 runs with weights at --per-config 1"):
        names(study, top=4, per_config=1)


def test_named_members(study: optuna.Study) -> None:
    """Exactly those named, in their order, by number or by full name."""
    assert names(study, members=("3", "joint.seeds#0", "joint#0")) == ["joint#3", "joint.seeds#0", "joint#0"]
    with pytest.raises(SearchError, match=r"--members 44: no run of that name.*there are joint\.seeds#0, joint#1"):
        names(study, members=("44",))
    with pytest.raises(SearchError, match="--members best: no run"):
        names(study, members=("best",))
    with pytest.raises(SearchError, match="names joint#3 twice"):
        names(study, members=("3", "joint#3"))


def test_members_carry_the_names_of_their_runs(study: optuna.Study) -> None:
    """Checkpoints are those of the runs."""
    members = load_members(study, choose(study, Choice(top=2)))
    assert [(member.name, member.score) for member in members] == [("joint.seeds#0", 0.27), ("joint#1", 0.26)]


def test_no_finished_run(tmp_path: Path, small_dataset: Dataset) -> None:
    """An empty study has nothing to export, and the next command is named."""
    url = f"sqlite:///{tmp_path / 'study.db'}"
    make_study(url, small_dataset.valid)
    with pytest.raises(SearchError, match="has no complete run yet: lobtuna work joint"):
        ship(url, "joint", Request(), tmp_path / "s.zip")
    assert not (tmp_path / "s.zip").exists()


def test_runs_past_the_retention_limit(tmp_path: Path, small_dataset: Dataset) -> None:
    """A run whose weights may have been removed is no candidate, though its record is there."""
    url = f"sqlite:///{tmp_path / 'study.db'}"
    study = make_study(url, small_dataset.valid, checkpoints={"keep": 2})
    add_runs(study, small_dataset.valid, SCORES)
    assert names(study) == ["joint#1", "joint#3"]


def test_uniform_is_the_default(url: str, tmp_path: Path) -> None:
    """One zip, equal weights, equal bytes when repeated; no data needed."""
    (shipment,) = ship(url, "joint", Request(top=3), tmp_path / "a.zip")
    ship(url, "joint", Request(top=3), tmp_path / "b.zip")
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()
    members = read_submission(tmp_path / "a.zip").manifest["members"]
    assert [member["name"] for member in members] == ["joint.seeds#0", "joint#1", "joint#3"]
    assert {tuple(member["weight"]) for member in members} == {(1 / 3, 1 / 3)}
    assert shipment.remarks == ()


def test_uniform_on_the_data(url: str, tmp_path: Path, small_data: Path) -> None:
    """With the data, the ensemble's score is told on selection and report sequences, by name."""
    (shipment,) = ship(url, "joint", Request(top=3), tmp_path / "a.zip", small_data)
    assert set(shipment.scores) == {"select", "report", "uniform_select", "uniform_report"}
    assert shipment.scores["report"] == shipment.scores["uniform_report"]


@pytest.mark.parametrize("how", ["optimised", "shrunk", "greedy"])
def test_fitted_weights_stand_beside_uniform_ones(url: str, tmp_path: Path, small_data: Path, how: str) -> None:
    """Fitted on selection, compared on report sequences, and told whether they beat uniform weights there."""
    (shipment,) = ship(url, "joint", Request(top=4, weights=how), tmp_path / "a.zip", small_data)
    scores = shipment.scores
    assert shipment.bundle.weights.sum(0) == pytest.approx([1, 1])
    if how != "shrunk":
        assert scores["select"] >= scores["uniform_select"] - 1e-9
    (remark,) = shipment.remarks
    assert f"{how} weights on the 3 report sequences: {scores['report']:.4f}" in remark
    assert ("do not beat" in remark) == (scores["report"] <= scores["uniform_report"])


def test_fitted_weights_need_data(url: str, tmp_path: Path) -> None:
    """Nothing can be fitted without validation sequences."""
    with pytest.raises(BundleError, match="greedy weights are fitted on validation sequences; name them"):
        ship(url, "joint", Request(weights="greedy"), tmp_path / "a.zip")


def test_given_weights(url: str, tmp_path: Path) -> None:
    """Families, lists and files weigh as they say; without data the missing comparison is told."""
    request = Request(top=3, weights="gru=0.4,gru_attention=0.6")
    (shipment,) = ship(url, "joint", request, tmp_path / "a.zip")
    assert shipment.bundle.weights[:, 0] == pytest.approx([0.2, 0.6, 0.2])
    assert "were not compared with uniform ones" in shipment.remarks[0]
    (tmp_path / "w.json").write_text(json.dumps({"joint#1": 1}))
    (shipment,) = ship(url, "joint", Request(top=3, weights=str(tmp_path / "w.json")), tmp_path / "b.zip")
    assert shipment.bundle.weights[:, 1].tolist() == [0, 1, 0]
    for wrong, message in {
        "gru=0.5,lstm=0.5": "name lstm",
        "gru=much": "is not FAMILY=NUMBER",
        "0.5,0.5": "2 numbers for 3 members",
        "0.5,0.5,0.5": "must sum to 1",
    }.items():
        with pytest.raises(BundleError, match=message):
            ship(url, "joint", Request(top=3, weights=wrong), tmp_path / "c.zip")
    (tmp_path / "w.json").write_text(json.dumps({"joint#1": [1]}))
    with pytest.raises(BundleError, match="a weight is a number, or a list of one for each of t0, t1"):
        ship(url, "joint", Request(top=3, weights=str(tmp_path / "w.json")), tmp_path / "c.zip")
    with pytest.raises(BundleError, match=r"may leave members out, and weights '0\.5,0\.3,0\.2' are for all of them"):
        ship(url, "joint", Request(top=3, weights="0.5,0.3,0.2", max_mb=20), tmp_path / "c.zip")
    assert not (tmp_path / "c.zip").exists()


def test_other_data_is_refused(url: str, tmp_path: Path) -> None:
    """Weights are not fitted on sequences that the runs were not validated on."""
    from lobmodels.data.synthetic import write_dataset

    write_dataset(tmp_path / "other", train=2, valid=4, seed=1)
    with pytest.raises(BundleError, match="was validated on other data"):
        ship(url, "joint", Request(weights="optimised"), tmp_path / "a.zip", tmp_path / "other")


def test_candidates(url: str, tmp_path: Path, small_data: Path) -> None:
    """Three variants of the same members and a manifest that compares them."""
    shipments = ship(url, "joint", Request(top=3, candidates=True), tmp_path / "s.zip", small_data)
    assert [s.path.name for s in shipments] == ["s-conservative.zip", "s-optimised.zip", "s-shrunk.zip"]
    manifest = json.loads((tmp_path / "s-candidates.json").read_text())
    assert set(manifest["candidates"]) == {"conservative", "optimised", "shrunk"}
    for entry, shipment in zip(manifest["candidates"].values(), shipments, strict=True):
        assert Path(entry["path"]) == shipment.path and shipment.path.is_file()
        assert {"select", "report"} <= set(entry["scores"])
    assert np.allclose(shipments[0].bundle.weights, 1 / 3)
    with pytest.raises(BundleError, match="leave out `weights`"):
        ship(url, "joint", Request(candidates=True, weights="1"), tmp_path / "s.zip", small_data)


def test_fits_size_and_time(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """--max-mb and --max-seconds leave the last members out and say which; nothing fits: nothing is written."""
    full = ship(url, "joint", Request(top=4), tmp_path / "a.zip")[0].bytes
    (shipment,) = ship(url, "joint", Request(top=4, max_mb=full / 1e6 - 1e-6), tmp_path / "b.zip")
    assert len(shipment.bundle.members) == 3
    assert shipment.remarks == ("3 of 4 members fit the limits; left out: joint#2",)
    seconds = {1: 40.0, 2: 70.0, 3: 100.0, 4: 130.0}
    monkeypatch.setattr("lobmodels.scoring.limits.seconds_for_1500", lambda bundle: seconds[len(bundle.members)])
    (shipment,) = ship(url, "joint", Request(top=4, max_seconds=75), tmp_path / "c.zip")
    assert len(shipment.bundle.members) == 2
    with pytest.raises(BundleError, match="not even one member fits into max_seconds=30: it takes 40 s"):
        ship(url, "joint", Request(top=4, max_seconds=30), tmp_path / "d.zip")
    assert not (tmp_path / "d.zip").exists()


def test_time_is_measured() -> None:
    """The measured cost of an ensemble is its start-up and a million and a half steps."""
    from lobmodels.ensemble.bundle import Bundle
    from lobmodels.scoring.limits import seconds_for_1500
    from tests.lobmodels.ensemble.made_runs import run

    assert 1.0 < seconds_for_1500(Bundle.of([run(hidden_size=4, num_layers=1)])) < 600


def test_the_command(
    url: str, tmp_path: Path, small_data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`export` and `score` from the command line: results on stdout, JSON with the promised keys, errors in a line."""
    monkeypatch.chdir(tmp_path)
    assert run_cli("export", "joint", "--top", "2", "--storage", url, "--onnx") == 0
    printed = capsys.readouterr().out
    assert "submission.zip: 2 members, uniform weights" in printed and "joint.seeds#0" in printed
    assert (tmp_path / "submission.onnx").is_file()
    assert run_cli("score", "submission.zip", "--data", str(small_data), "--sequences", "6") == 0
    printed = capsys.readouterr().out
    assert "selection (seen by the search)" in printed and "1,500 sequences:" in printed
    several = ("--sequences", "6", "--bootstrap", "9")
    for on, warned in (("all", True), ("report", False)):
        assert run_cli("score", "submission.zip", "--data", str(small_data), *several, "--on", on) == 0
        assert ("look better on them than they are" in capsys.readouterr().out) == warned
    valid = str(small_data / "valid.parquet")
    assert run_cli("score", "submission.zip", "--data", valid, "--sequences", "1", "--json") == 0
    document = json.loads(capsys.readouterr().out)
    promised = {"t0", "t1", "weighted_pearson", "us_per_step", "seconds_for_1500", "megabytes", "sequences"}
    assert promised <= set(document) and document["sequences"] == 1
    assert run_cli("export", "joint", "--members", "", "--storage", url) == 1
    assert "--members names no run" in capsys.readouterr().err
    assert run_cli("export", "joint", "--max-mb", "0", "--storage", url) == 2
    capsys.readouterr()
    assert run_cli("export", "joint", "--top", "20", "--storage", url) == 1
    assert capsys.readouterr().err.startswith("lobtuna: --top 20: study 'joint' has 6 runs with weights")


def test_ensemble_command(
    url: str, tmp_path: Path, small_data: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """All files appear with their columns, predictions are computed once, the advice is told; its weights export."""
    output, arguments = tmp_path / "analysis", ("--data", str(small_data), "--storage", url)
    assert run_cli("ensemble", "joint", *arguments, "--output", str(output)) == 0
    printed = capsys.readouterr().out
    assert "6 runs; 9 selection and 3 report sequences" in printed and "ship uniform ones" in printed
    tables = {"model_scores", "pairwise_correlations", "ensemble_vs_n_models", "diversity_by_target_bucket"}
    assert {path.stem for path in output.glob("*.html")} == tables | {"optimal_weights"}
    assert {path.stem for path in output.glob("*.csv")} == tables
    first = (output / "model_scores.csv").read_text().splitlines()[0]
    assert first == "model,score_t0,score_t1,score_avg"

    def refuse(*_: object) -> None:
        raise AssertionError("a prediction was computed twice")

    monkeypatch.setattr("lobmodels.checkpoint.Checkpoint.predict", refuse)
    assert run_cli("ensemble", "joint", *arguments, "--output", str(output), "--json", "--on", "select") == 0
    document = json.loads(capsys.readouterr().out)
    assert document["on"] == "select" and len(document["models"]) == 6
    weights = f"{output / 'optimal_weights.json'}#greedy"
    assert run_cli("export", "joint", *arguments, "--weights", weights, "--output", str(tmp_path / "s.zip")) == 0
    greedy = document["optimal_weights"]["variants"]["greedy"]["weights"]
    for member in read_submission(tmp_path / "s.zip").manifest["members"]:
        assert member["weight"] == pytest.approx(greedy[member["name"]])


def test_score_several(
    tmp_path: Path, small_data: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A table over resamples against a champion, run or saved; CSV; a choice that is safe and one that is bold."""
    monkeypatch.chdir(tmp_path)
    source = (
        "import numpy as np\nclass PredictionModel:\n    def predict(self, p):\n"
        "        return p.state[{}:{} + 2].astype(float) if p.need_prediction else None"
    )
    for name, column in (("a", 0), ("b", 12)):
        Path(f"{name}.zip").write_bytes(zip_bytes({"solution.py": source.format(column, column).encode()}))
    data = ("--data", str(small_data))
    compared = ("score", "a.zip", "b.zip", *data, "--champion", "b.zip", "--csv", "t.csv")
    assert run_cli(*compared) == 0
    printed = capsys.readouterr().out
    assert "12 sequences are too few to tell" in printed and "safe: " not in printed
    monkeypatch.setattr("lobmodels.bootstrap.FEW", 12)
    assert run_cli(*compared) == 0
    printed = capsys.readouterr().out
    assert "200 resamples of 12 sequences: all" in printed and "champion" in printed and "safe: " in printed
    assert Path("t.csv").read_text().count("\n") == 3
    assert run_cli("score", "b.zip", *data, "--save", "b.score") == 0
    capsys.readouterr()
    assert run_cli("score", "a.zip", *data, "--champion", "b.score", "--bootstrap", "50", "--json") == 0
    comparison = json.loads(capsys.readouterr().out)["comparison"]
    assert comparison["champion"] == "b.zip" and comparison["repetitions"] == 50
    assert comparison["rows"][0]["p_better"] is not None and comparison["rows"][1]["p_better"] is None
    assert run_cli("score", "a.zip", *data, "--champion", "b.score", "--sequences", "3") == 1
    assert "score both on all of the file" in capsys.readouterr().err
    assert run_cli("score", "a.zip", *data, "--on", "report", "--bootstrap", "9") == 1
    assert "use --on all" in capsys.readouterr().err
    assert run_cli("score", "a.zip", *data, "--csv", "lost.csv") == 1
    assert "--csv is the table of a comparison" in capsys.readouterr().err
    assert run_cli("score", "a.zip", *data, "--champion", "none.score") == 1
    assert "none.score: no such file" in capsys.readouterr().err
    assert run_cli("score", "a.zip", "b.zip", *data, "--on", "bogus") == 2
    assert run_cli("score", "a.zip", "b.zip", *data, "--save", "x") == 1
    assert "one submission, not of 2" in capsys.readouterr().err


def test_verify_command(tmp_path: Path, small_data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A table and exit 0, or the failed checks in one line and exit 1; what lobtuna did not export is refused."""
    from lobmodels.scoring.verify import Check

    path = str(tmp_path / "s.zip")
    Path(path).write_bytes(zip_bytes({"solution.py": b""}))
    assert run_cli("verify", path, "--data", str(small_data)) == 1
    assert "was not exported by lobtuna" in capsys.readouterr().err
    for difference, status in ((1e-7, 0), (2e-3, 1), (float("nan"), 1)):
        with pytest.MonkeyPatch.context() as patch:
            check = Check("reset", "numba", difference, 1e-5)
            patch.setattr("lobmodels.scoring.verify.verify", lambda *_, check=check: [check])
            assert run_cli("verify", path, "--data", str(small_data)) == status
        captured = capsys.readouterr()
        assert ("reset (numba) failed; do not send it" in captured.err) == bool(status)


def run_cli(*arguments: str) -> int:
    """Exit status of the command line."""
    with pytest.raises(SystemExit) as stop:
        main(list(arguments))
    return int(stop.value.code or 0)
