"""The names that a plugin's file imports, and a plugin on a data set that is not the challenge's."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import lobtuna
import lobtuna.plugins
from lobmodels.errors import PluginError
from lobmodels.plugins import declarations, registering
from search.errors import SearchError
from tests.lobmodels.own_data import write_data
from tests.plugin_files import blocks_of_files, forgotten

CAUSAL = blocks_of_files()["causal.py"]
SMALL: dict[str, Any] = {
    "name": "own",
    "parameters": {"architecture": "causal_conv", "hidden_size": 4, "num_layers": 1, "batch_size": 4, "epochs": 1},
    "pruner": {"name": "none"},
    "budget": {"trials": 1},
}


@pytest.fixture(autouse=True)
def _forgotten() -> Iterator[None]:
    with forgotten():
        yield


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/own.db"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Ten columns, one target, sequences of different lengths."""
    return write_data(tmp_path / "data")


def plugin(folder: Path, *changes: tuple[str, str]) -> Path:
    """The page's network with `changes` of its text."""
    text = CAUSAL
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    path = folder / "causal.py"
    path.write_text(text)
    return path


def test_the_names() -> None:
    """The decorators and types of `lobmodels.plugins`, no copies."""
    assert lobtuna.plugins.network is registering.network and lobtuna.plugins.Int is declarations.Int
    assert set(lobtuna.plugins.__all__) == {"network", "loss", "Int", "Float", "Choice", "Flag"}


def test_it_goes_the_whole_way_on_data_of_another_schema(
    url: str, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A network that reads ten columns and gives one target only is accepted, trained, exported and verified."""
    monkeypatch.setattr("lobmodels.scoring.verify.BACKENDS", {"numpy": ("numba",)})
    file = plugin(
        tmp_path, ("super().__init__()\n", "super().__init__()\n        assert (input_size, targets) == (10, 1)\n")
    )
    study = lobtuna.create(SMALL, url, data=data, plugins=[file]).study
    assert lobtuna.work(study, data, device="cpu").outcomes == {"complete": 1}
    lobtuna.export(study, tmp_path / "own.zip", data=data)
    checked = lobtuna.verify(tmp_path / "own.zip", data)
    assert checked.ok and "average" in checked.table().column("check")


FIXED_SIZE = ("config.taps * input_size", "config.taps * 32")


def test_a_network_for_other_columns_is_refused_at_create(url: str, data: Path, tmp_path: Path) -> None:
    """In one line, before the study exists."""
    with pytest.raises(PluginError, match="network 'causal_conv': forward raised RuntimeError") as caught:
        lobtuna.create(SMALL, url, data=data, plugins=[plugin(tmp_path, FIXED_SIZE)])
    assert "\n" not in str(caught.value) and not (tmp_path / "own.db").exists()


def test_a_study_created_without_its_data_is_checked_by_its_first_worker(url: str, data: Path, tmp_path: Path) -> None:
    """No trial is begun, and the study stays free for other data."""
    study = lobtuna.create(SMALL, url, plugins=[plugin(tmp_path, FIXED_SIZE)]).study
    with pytest.raises(PluginError, match="network 'causal_conv': forward raised RuntimeError"):
        lobtuna.work(study, data, device="cpu")
    assert not study.runs() and "data_fingerprint" not in study.optuna.user_attrs


def test_what_the_schema_forbids_is_said_first(url: str, data: Path, tmp_path: Path) -> None:
    """Not as an error of the plugin."""
    weighted = {**SMALL, "parameters": {**SMALL["parameters"], "t0_weight": 2.0}}
    with pytest.raises(SearchError, match="t0_weight weigh two targets, and it has 1"):
        lobtuna.create(weighted, url, data=data, plugins=[plugin(tmp_path)])
