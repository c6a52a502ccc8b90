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
    decorators = {"network", "loss", "features", "metric"}
    assert set(lobtuna.plugins.__all__) == decorators | {"Int", "Float", "Choice", "Flag"}


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


def test_features_and_a_metric_in_python(url: str, data: Path, tmp_path: Path) -> None:
    """A file with both, on data whose schema names the metric: searched, ranked, exported, verified and scored."""
    file = tmp_path / "parts.py"
    file.write_text(
        "import numpy as np\nfrom lobtuna.plugins import features, metric\n"
        '@features("product", reads=["c0", "c1"], gives=["c0_c1"])\ndef product(x, config):\n'
        "    return x.prod(-1, keepdim=True)\n"
        '@metric("nearness")\ndef nearness(p, y, w):\n    return -np.abs(p - y).mean(0)\n'
    )
    schema = data / "schema.yaml"
    schema.write_text(schema.read_text().replace("metric: pearson", "metric: {plugin: nearness}"))
    parameters = {
        "product": {"choices": [True, False]},
        "hidden_size": 4,
        "num_layers": 1,
        "batch_size": 4,
        "epochs": 1,
    }
    baselines = [{"product": True}, {"product": False}]
    document = {**SMALL, "parameters": parameters, "baselines": baselines, "budget": {"trials": 2}}
    study = lobtuna.create(document, url, data=data, plugins=[file]).study
    assert lobtuna.work(study, data, device="cpu").outcomes == {"complete": 2}
    assert "product" in lobtuna.rank(study)._repr_html_()
    lobtuna.export(study, tmp_path / "own.zip", data=data)
    assert lobtuna.verify(tmp_path / "own.zip", data).ok
    assert -3 < lobtuna.score(tmp_path / "own.zip", data).mean < 0
    run = lobtuna.load(study.best()).checkpoint
    assert run.score is not None and run.scores["select"] == {"move": run.score, "mean": run.score}


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
