"""`replicate`: what it queues, and that nothing is queued twice."""

import json
from pathlib import Path

from search.study.open import open_study
from storage.backends.registry import open_storage
from tests.made_study import make_study
from tests.search.cli.calls import Run


def test_replicate_queues_and_repeats_nothing(run: Run, tmp_path: Path) -> None:
    """Counts, seeds and the next commands; --auto stores the plan that the workers follow."""
    url = f"sqlite:///{tmp_path / 'study.db'}"
    make_study(open_storage(url), 30)
    status, out, err = run("rank", "joint", "--storage", url)
    assert status == 0 and "this order is mostly luck; next: lobtuna replicate joint" in err
    arguments = ("replicate", "joint", "--storage", url, "--top", "3", "--seeds", "3")
    status, out, err = run(*arguments)
    assert status == 0 and err == "" and "joint.seeds: 6 runs queued, 0 there already" in out
    assert "each under its own seed and 1000000 to 1000001" in out and f"lobtuna work joint --storage {url}" in out
    document = json.loads(run(*arguments, "--auto", "--runs", "9", "--json")[1])
    assert (document["queued"], document["present"], document["auto_runs"]) == (0, 6, 9)
    assert open_study(url, "joint.seeds").user_attrs["replication_plan"]["runs"] == 9
    for wrong, piece in (
        (("--runs", "9"), "--runs is the budget of --auto"),
        (("--auto", "--runs", "2"), "is less than the 6 replicates"),
        (("--top", "99"), "asks for more configurations than study 'joint' has complete"),
        (("--trial", "999"), "trial 999 of study 'joint' is not complete"),
    ):
        status, out, err = run(*arguments, *wrong)
        assert (status, out) == (1, "") and piece in err
    status, _, err = run(*arguments[:4], "--seeds", "1")
    assert status == 1 and "--seeds 1 adds no run" in err
    status, _, err = run(*arguments[:4], "--folds", "all")
    assert status == 1 and "has the fixed split; write validation: {folds: 5}" in err
    assert "give a number of folds, or all" in run(*arguments[:4], "--folds", "x")[2]


def test_replicate_takes_what_there_is(run: Run) -> None:
    """Without --top, a study with fewer than five configurations repeats all of them."""
    study = make_study(open_storage("sqlite:///lobtuna.db"), 3, failures=0.0)
    status, out, err = run("replicate", study.study_name)
    assert (status, err) == (0, "") and "runs queued" in out
    assert run("replicate", study.study_name, "--top", "5")[0] == 1
