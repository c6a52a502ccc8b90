"""Creating and revising a study from its definition; the commands' tests ask what is printed."""

from __future__ import annotations

from pathlib import Path

import pytest

from lobmodels.data import load_dataset
from search.errors import SearchError, SpecError
from search.study.record import FINGERPRINT
from search.studyfile.spec import StudySpec
from search.work.begin import create, read_definition, revise
from tests.plugin_files import blocks_of_files, forgotten

DOCUMENT = {
    "name": "begun",
    "parameters": {"lr": {"float": [1e-4, 1e-2], "log": True}, "num_layers": 1, "batch_size": 12, "epochs": 12},
    "baselines": [{"lr": 1e-3}],
}


def test_created_counts_its_space(tmp_path: Path, small_data: Path) -> None:
    """Searched, fixed and queued; bound to the data; the second time it was there."""
    spec, url = StudySpec.from_json(DOCUMENT), f"sqlite:///{tmp_path}/s.db"
    created = create(spec, url, small_data)
    assert (created.searched, created.fixed, created.waiting, created.existed) == (1, 3, 1, False)
    assert created.study.user_attrs[FINGERPRINT] == load_dataset(small_data).fingerprint
    assert create(spec, url).existed


def test_a_revision_keeps_its_artifacts(tmp_path: Path) -> None:
    """They stay where they are; the budget changes in place."""
    spec, url = StudySpec.from_json(DOCUMENT), f"sqlite:///{tmp_path}/s.db"
    create(spec, url)
    with pytest.raises(SearchError, match="--artifacts cannot change"):
        revise(spec, url, artifacts=str(tmp_path))
    assert revise(StudySpec.from_json({**DOCUMENT, "budget": {"trials": 9}}), url).in_place


OWN = """name: own
parameters: {architecture: {choices: [gru, causal_conv]}, taps: {int: [4, 8], when: {architecture: causal_conv}}}
"""


def test_a_forgotten_plugin_is_named(tmp_path: Path) -> None:
    """The file of a study that was created with a plugin is read again without it, from another process: one line names
    the part and the option, not each of its words as a mistake. What else is wrong is told; so is the option where no
    study is there yet."""
    url, file, plugin = f"sqlite:///{tmp_path}/s.db", tmp_path / "own.yaml", tmp_path / "causal.py"
    file.write_text(OWN)
    plugin.write_text(blocks_of_files()["causal.py"])
    with forgotten(), pytest.raises(SpecError, match="'gru_attention'; one of yours is known with --plugin FILE"):
        read_definition(file, [], None, url)
    assert not (tmp_path / "s.db").exists()
    with forgotten():
        spec, sources = read_definition(file, [plugin], None, url)
        create(spec, url, plugins=sources)
    for changed in (OWN, OWN + "budget: {trials: 3}\n"):
        file.write_text(changed)
        with forgotten(), pytest.raises(SearchError) as error:
            read_definition(file, [], None, url)
        assert "(network causal_conv)" in str(error.value) and "add --plugin causal.py" in str(error.value)
        assert "\n" not in str(error.value)
    file.write_text(OWN + "budget: {trails: 3}\n")
    with forgotten(), pytest.raises(SpecError, match="trails") as wrong:
        read_definition(file, [], None, url)
    assert len(wrong.value.problems) == 1
    file.write_text("name: [own\n")
    with forgotten(), pytest.raises(SpecError):
        read_definition(file, [], None, url)
