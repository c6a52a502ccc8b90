"""`refit`: what it queues and what it says is given up."""

import json
from pathlib import Path

from storage.backends.registry import open_storage
from tests.made_study import make_study
from tests.search.cli.calls import Run


def test_refit_queues_and_says_for_how_long(run: Run, tmp_path: Path) -> None:
    """Counts, the epochs of each configuration, the next commands; asking again queues nothing."""
    url = f"sqlite:///{tmp_path / 'study.db'}"
    make_study(open_storage(url), 30, replicates=(3, 2))
    arguments = ("refit", "joint", "--storage", url, "--top", "3", "--seeds", "2")
    status, out, err = run(*arguments)
    assert (status, err) == (0, "") and "joint.seeds: 6 refits queued, 0 there already" in out
    assert "of its 3 runs, in the median" in out and f"lobtuna export joint --storage {url} --refit" in out
    document = json.loads(run(*arguments, "--json")[1])
    assert (document["queued"], document["present"], document["with_report"]) == (0, 6, False)


def test_with_report_says_what_is_given_up(run: Run, tmp_path: Path) -> None:
    """On stderr, before the hours are spent."""
    url = f"sqlite:///{tmp_path / 'study.db'}"
    make_study(open_storage(url), 12, replicates=(2, 2))
    status, out, err = run("refit", "joint", "--storage", url, "--top", "1", "--with-report")
    assert status == 0 and "--refit --with-report" in out and "nothing is left that could say how good they" in err
