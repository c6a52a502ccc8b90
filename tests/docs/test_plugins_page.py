"""The page on plugins: its parts go from their files to scored, verified submissions by its own commands."""

from __future__ import annotations

import contextlib
import io
import shlex
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from lobmodels.data import load_dataset, validation_split
from lobmodels.ensemble.bundle import read_submission
from search.cli import main
from search.study.open import open_study
from search.study.record import PLUGINS
from search.study.runs import best_run, finished_runs, load_checkpoint
from tests.docs.pages import blocks, commands
from tests.plugin_files import blocks_of_files, forgotten


def run(arguments: list[str]) -> tuple[int, str, str]:
    """Exit status, stdout and stderr of a command, in this process."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), pytest.raises(SystemExit) as stop:
        main(arguments)
    return int(stop.value.code or 0), out.getvalue(), err.getvalue()


@pytest.fixture(scope="module")
def printed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Output of each command of the page by its first word, by its first two where that word comes again. They run one
    after another beside the page's files."""
    folder = tmp_path_factory.mktemp("plugins")
    for name, text in blocks_of_files().items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    found = {}
    with contextlib.chdir(folder), forgotten(), pytest.MonkeyPatch.context() as patch:
        patch.setattr("lobmodels.scoring.verify.BACKENDS", {"numpy": ("numba",)})
        for line in (line for block in blocks("plugins.md") for line in commands(block)):
            status, out, err = run(shlex.split(line)[1:])
            assert status == 0, (line, err)
            words = line.split()
            found[words[1] if words[1] not in found else " ".join(words[1:3])] = out + err
        yield found


def test_the_networks_are_searched_and_ranked(printed: dict[str, str]) -> None:
    """Four trials, both architectures, its own parameter among those in which they differ."""
    assert "4 of 4 trials are done" in printed["work"]
    assert "architecture=causal_conv taps=8" in printed["rank"] and "architecture=gru" in printed["rank"]


def test_the_submission_holds_it_as_a_graph_and_shows_its_cost(printed: dict[str, str]) -> None:
    """Beside the fused member, in one zip; verified row by row, scored in its own process."""
    submission = read_submission(Path("submission.zip"))
    graphs = [member["name"] for member in submission.manifest["members"] if member.get("graph")]
    assert 1 <= len(graphs) < len(submission.names) == 4
    assert "run as ONNX graphs" in printed["export"] and "us a step here" in printed["export"]
    assert "average" in printed["verify"] and "fails" not in printed["verify"]
    assert "+onnx" in printed["score"] and "1,500 sequences" in printed["score"]


def test_features_go_from_the_file_to_a_verified_submission(printed: dict[str, str]) -> None:
    """Searched with their parameter, exported as graphs that members share, verified to 1e-5 and scored; no source of
    the user's is in the zip."""
    assert "3 of 3 trials are done" in printed["work flow"]
    assert "half_life=8" in printed["rank flow"] and "pressure" in printed["rank flow"]
    submission = read_submission(Path("flow.zip"))
    assert {entry["name"] for entry in submission.manifest["own"]} == {"depth", "pressure"}
    assert not any(member.get("graph") for member in submission.manifest["members"])
    assert b"half_life)" not in Path("flow.zip").read_bytes()
    assert "features pressure" in printed["export flow"] and "us a step here" in printed["export flow"]
    assert "features" in printed["verify flow.zip"] and "fails" not in printed["verify flow.zip"]
    assert "numba+onnx" in printed["score flow.zip"]


def test_a_metric_selects_ranks_and_scores(printed: dict[str, str]) -> None:
    """The score of each run is the function's own, on the rows that it was validated on; so is the submission's."""
    assert "2 of 2 trials are done" in printed["work gain"] and "gain" in printed["rank gain"]
    assert "gain.zip: gain" in printed["score gain.zip"] and "50 resamples" in printed["score gain.zip"]
    study = open_study("sqlite:///lobtuna.db", "gain")
    valid = load_dataset(Path("gain")).valid
    run = load_checkpoint(study, best_run(finished_runs(study)))
    chosen = np.arange(len(valid))[validation_split(len(valid), run.report_fraction)[0]]
    p = run.predict(valid.features[chosen])[:, 99:].reshape(-1, 2).astype(np.float64)
    y = np.array(valid.targets[chosen][:, 99:], np.float64).reshape(-1, 2)
    expected = (np.sign(p) * y).sum(0) / np.abs(y).sum(0)
    scores = run.scores["select"]
    assert scores is not None and np.abs([scores["t0"] - expected[0], scores["t1"] - expected[1]]).max() < 1e-9


def test_its_source_is_with_the_study(printed: dict[str, str]) -> None:
    """Text and SHA-256, as they were in the file."""
    (stored,) = open_study("sqlite:///lobtuna.db", "own").user_attrs[PLUGINS]
    assert stored["source"] == Path("causal.py").read_text() and len(stored["sha256"]) == 64


def test_the_network_has_twenty_lines() -> None:
    """As the page says: what is between the imports and the end."""
    text = blocks_of_files()["causal.py"]
    body = [line for line in text.split("@network", 1)[1].splitlines() if line.strip()]
    assert len(body) <= 20
