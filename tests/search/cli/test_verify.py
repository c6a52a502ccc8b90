"""`verify`: a table and exit 0, or the failed checks in one line and exit 1."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from lobmodels.ensemble.bundle import read_submission, write_submission
from lobmodels.files import zip_bytes
from lobmodels.scoring.verify import Check
from tests.search.cli.calls import Run


@pytest.mark.parametrize(("difference", "status"), [(1e-7, 0), (2e-3, 1), (float("nan"), 1)])
def test_the_verdict(
    run: Run, small_data: Path, monkeypatch: pytest.MonkeyPatch, difference: float, status: int
) -> None:
    """A difference beyond the limit, or one that is no number, fails the submission; JSON has no NaN."""
    monkeypatch.setattr("lobmodels.scoring.verify.verify", lambda *_: [Check("reset", "numba", difference, 1e-5)])
    code, out, err = run("verify", "s.zip", "--data", small_data)
    assert code == status and "largest difference" in out
    assert ("reset (numba) failed; do not send it" in err) == bool(status)
    document = json.loads(run("verify", "s.zip", "--data", small_data, "--json")[1])
    assert document["ok"] is not bool(status)


def test_a_submission_of_others_is_refused(run: Run, small_data: Path) -> None:
    """There are no trained networks to compare it with."""
    Path("s.zip").write_bytes(zip_bytes({"solution.py": b""}))
    status, _, err = run("verify", "s.zip", "--data", small_data)
    assert status == 1 and "was not exported by lobtuna" in err


def test_the_stored_checkpoints(run: Run, exportable: str, small_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With --storage the weights are those of the study's runs, or the member that is not is named."""
    monkeypatch.setattr("lobmodels.scoring.verify.BACKENDS", {"numpy": ("numba",)})
    assert run("export", "joint", "--storage", exportable, "--top", "2", "--output", "s.zip")[0] == 0
    verify = ("verify", "s.zip", "--data", small_data, "--json")
    checks = json.loads(run(*verify, "--storage", exportable)[1])["checks"]
    assert [check["backend"] for check in checks if check["name"] == "weights"] == ["digests", "stored"]
    bundle = read_submission("s.zip").bundle()
    first = bundle.members[0]
    halved = dataclasses.replace(first, weights={name: tensor / 2 for name, tensor in first.weights.items()})
    write_submission("s.zip", dataclasses.replace(bundle, members=(halved, bundle.members[1])))
    assert run(*verify)[0] == 0  # whole in itself
    status, _, err = run(*verify, "--storage", exportable)
    assert status == 1 and "joint.seeds#0 is not that of the stored checkpoints in head.bias" in err
    write_submission(
        "s.zip", dataclasses.replace(bundle, members=(dataclasses.replace(first, name="joint#77"), bundle.members[1]))
    )
    status, _, err = run(*verify, "--storage", exportable)
    assert status == 1 and "joint#77: no run of that name has stored weights" in err
