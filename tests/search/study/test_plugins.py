"""A study's plugins: stored with it, read anywhere, run only where somebody trusts them."""

from __future__ import annotations

import html
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest

from lobmodels.config import RunConfig
from lobmodels.errors import LobModelsError, PluginError
from lobmodels.plugins import registering
from lobmodels.plugins.loading import is_loaded
from lobmodels.schema import LOB
from search.cli import main
from search.errors import SearchError, StudyExistsError
from search.report import build_report
from search.study.feasible import require_allowed
from search.study.named import rank
from search.study.open import load_study, open_study
from search.study.plugins import load_plugins, require_code, stored_plugins, used_plugins
from search.study.record import PLUGINS
from search.study.replication import open_replicates
from search.study.revise import revise
from search.studyfile.spec import StudySpec
from search.work.begin import checked_plugins, create
from search.work.options import WorkOptions
from search.work.worker import work
from storage.optuna_internals import storage_of
from tests.plugin_files import blocks_of_files, forgotten

DOCUMENT: dict[str, Any] = {
    "name": "own",
    "parameters": {
        "architecture": {"choices": ["gru", "causal_conv"]},
        "taps": {"int": [4, 16], "when": {"architecture": "causal_conv"}},
        "hidden_size": 8,
        "num_layers": 1,
        "batch_size": 12,
        "epochs": 1,
    },
    "baselines": [{"architecture": "causal_conv", "taps": 8}],
    "pruner": {"name": "none"},
    "budget": {"trials": 1},
}


@pytest.fixture(autouse=True)
def _forgotten() -> Iterator[None]:
    with forgotten():
        yield


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """The page's network in a file."""
    path = tmp_path / "causal.py"
    path.write_text(blocks_of_files()["causal.py"])
    return path


@pytest.fixture
def url(file: Path, tmp_path: Path) -> str:
    """A database with a study that uses it."""
    url = f"sqlite:///{tmp_path}/own.db"
    sources = load_plugins([file])
    spec = StudySpec.from_json(DOCUMENT)
    create(spec, url, plugins=used_plugins(spec, sources, 1))
    return url


def elsewhere() -> None:
    """Forget every source that was run here, as a process on another machine would not have run it."""
    for kind, name in list(registering.PARTS):
        del registering.REGISTRIES[kind]._entries[name]
    registering.PARTS.clear()


def test_it_is_read_without_being_run(url: str) -> None:
    """Opening the study declares what the plugin declares: its configurations are typed, its source is not run."""
    elsewhere()
    study = open_study(url, "own")
    assert RunConfig.parse({"architecture": "causal_conv", "taps": 4}).active()["taps"] == 4
    assert not any(map(is_loaded, stored_plugins(study.user_attrs)))


def test_an_untrusted_source_is_refused_with_its_digest(url: str, small_data: Path) -> None:
    """One line: why, the SHA-256, a copy to read, and the two ways on. Nothing of it was run, no trial was begun."""
    elsewhere()
    (stored,) = stored_plugins(open_study(url, "own").user_attrs)
    with pytest.raises(SearchError, match="its source came from the database and is not run here") as caught:
        work(url, "own", small_data, options=WorkOptions(device="cpu"))
    text = str(caught.value)
    assert stored.digest in text and "--trust-plugins" in text and "--plugin FILE" in text and "\n" not in text
    copy = next(word for word in text.replace(",", " ").split() if word.endswith("/causal.py"))
    assert Path(copy).read_text() == stored.text
    assert not registering.PARTS
    assert [t.state for t in open_study(url, "own").get_trials()] == [optuna.trial.TrialState.WAITING]


@pytest.mark.parametrize("how", ["trusted", "named"])
def test_trusted_or_named_it_trains(url: str, file: Path, small_data: Path, how: str, tmp_path: Path) -> None:
    """With `trust_plugins` the study's own source is run, with `plugins` the user's equal file."""
    elsewhere()
    trusted = how == "trusted"
    options = WorkOptions(
        device="cpu", keep_folder=tmp_path, trust_plugins=trusted, plugins=() if trusted else (str(file),)
    )
    assert work(url, "own", small_data, options=WorkOptions.from_json(options.to_json())).outcomes == {"complete": 1}


def test_a_profile_of_a_run_asks_for_the_source(
    url: str, file: Path, small_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`data profile --study` refuses as `export` does, and goes on where the source is trusted or named."""
    arguments = ["data", "profile", str(small_data), "--output", str(tmp_path / "page"), "--storage", url]
    for extra, said in (
        ([], "its source came from the database and is not run here unless you trust it"),
        (["--trust-plugins"], "study 'own' has no complete run yet"),
        (["--plugin", str(file)], "study 'own' has no complete run yet"),
    ):
        elsewhere()
        with pytest.raises(SystemExit):
            main([*arguments, "--study", "own", *extra])
        assert said in " ".join(capsys.readouterr().err.split())


def test_another_file_of_that_name_is_refused(url: str, file: Path) -> None:
    """Both digests are shown; `trust` does not change it, since the user named a file."""
    elsewhere()
    file.write_text(file.read_text() + "# changed\n")
    with pytest.raises(SearchError, match=r"was created with causal.py of SHA-256 \w{16}, this causal.py has \w{16}"):
        require_code(open_study(url, "own"), [file], trust=True)


def test_a_source_changed_in_the_database_is_never_run(url: str) -> None:
    """Its digest is computed from what is there."""
    study = open_study(url, "own")
    document = study.user_attrs[PLUGINS][0]
    study.set_user_attr(PLUGINS, [{**document, "source": "raise SystemExit"}])
    elsewhere()
    with pytest.raises(LobModelsError, match="it was changed in the database; do not run it"):
        require_code(optuna.load_study(study_name="own", storage=storage_of(study)), trust=True)


def test_replicates_and_revisions_take_it_along(url: str) -> None:
    """The studies that follow from this one hold the same source."""
    study = open_study(url, "own")
    assert open_replicates(study).user_attrs[PLUGINS] == study.user_attrs[PLUGINS]
    wider = {**DOCUMENT["parameters"], "hidden_size": {"choices": [8, 16]}}
    changed = {**DOCUMENT, "parameters": wider, "baselines": []}
    revised = revise(StudySpec.from_json(changed), url).study
    assert revised.study_name == "own@2" and revised.user_attrs[PLUGINS] == study.user_attrs[PLUGINS]
    assert load_study(storage_of(study), "own@2")


def test_a_changed_plugin_is_another_study(url: str, file: Path) -> None:
    """`create` and `create --revise` with another source of that file are refused."""
    file.write_text(file.read_text() + "# changed\n")
    spec, sources = StudySpec.from_json(DOCUMENT), load_plugins([file])
    for call in (lambda: create(spec, url, plugins=sources), lambda: revise(spec, url, plugins=sources)):
        with pytest.raises(StudyExistsError, match=r"another causal\.py"):
            call()


def test_what_is_named_must_be_used_and_what_is_used_named(file: Path) -> None:
    """A plugin that the space does not mention, and a network of the session without its file."""
    sources = load_plugins([file])
    plain = StudySpec.from_json({"name": "plain", "parameters": {"hidden_size": 8}})
    with pytest.raises(SearchError, match=r"uses nothing of causal\.py: write `architecture: causal_conv`"):
        used_plugins(plain, sources, 1)
    with pytest.raises(SearchError, match="uses the network 'causal_conv' of a plugin, whose source must go with it"):
        used_plugins(StudySpec.from_json(DOCUMENT), [], 0)


def test_a_network_that_disagrees_is_refused_at_create(file: Path) -> None:
    """Before the study exists."""
    file.write_text(file.read_text().replace("(rows[1:],)", "(state[0],)"))
    sources = load_plugins([file])
    with pytest.raises(PluginError, match="forward and forward_step differ first at step 1"):
        used_plugins(StudySpec.from_json(DOCUMENT), sources, 1)


FLOW: dict[str, Any] = {
    "name": "flow",
    "parameters": {
        "pressure": {"choices": [True, False]},
        "half_life": {"float": [4.0, 40.0], "when": {"pressure": True}},
        "depth": True,
        "hidden_size": 4,
        "num_layers": 1,
        "batch_size": 12,
        "epochs": 1,
    },
    "baselines": [{"pressure": True, "half_life": 8.0, "depth": True}, {"pressure": False, "depth": True}],
    "pruner": {"name": "none"},
    "budget": {"trials": 2},
}


@pytest.fixture
def features_file(tmp_path: Path) -> Path:
    """The page's feature groups in a file."""
    path = tmp_path / "pressure.py"
    path.write_text(blocks_of_files()["pressure.py"])
    return path


def test_feature_groups_travel_as_networks_do(features_file: Path, tmp_path: Path, small_data: Path) -> None:
    """Stored with the study, read without being run, trained where it is trusted; flags and parameters are in each
    trial's configuration, and in no configuration of another study of this process."""
    url, sources = f"sqlite:///{tmp_path}/flow.db", load_plugins([features_file])
    spec = StudySpec.from_json(FLOW)
    create(spec, url, plugins=used_plugins(spec, sources, 1))
    plain = StudySpec.from_json({"name": "plain", "parameters": {"hidden_size": 8}, "baselines": [{"hidden_size": 8}]})
    create(plain, url)
    elsewhere()
    with pytest.raises(
        SearchError, match=r"uses the plugin pressure\.py \(feature group depth, feature group pressure\)"
    ):
        work(url, "flow", small_data, options=WorkOptions(device="cpu"))
    options = WorkOptions(device="cpu", keep_folder=tmp_path, trust_plugins=True)
    assert work(url, "flow", small_data, options=options).outcomes == {"complete": 2}
    with_, without = (trial.user_attrs["configuration"] for trial in open_study(url, "flow").get_trials())
    assert with_["half_life"] == 8.0 and with_["pressure"] is True
    assert without["pressure"] is False and "half_life" not in without
    assert "pressure" not in RunConfig.parse({"hidden_size": 8}).active()


def test_what_a_study_must_say_of_its_features(features_file: Path) -> None:
    """A group that nothing switches on, one without its file, one that gives a column of the data."""
    sources = load_plugins([features_file])
    plain = StudySpec.from_json({"name": "plain", "parameters": {"hidden_size": 8}})
    with pytest.raises(SearchError, match=r"uses nothing of pressure\.py: write `depth: true`"):
        used_plugins(plain, sources, 1)
    with pytest.raises(SearchError, match=r"uses the feature group '\w+' of a plugin, whose source must go with it"):
        used_plugins(StudySpec.from_json(FLOW), [], 0)
    own = replace(LOB, features=(*LOB.features, "pressure_mean"))
    with pytest.raises(PluginError, match="gives 'pressure_mean', which is a column of the data; rename it"):
        used_plugins(StudySpec.from_json(FLOW), sources, 1, own)
    few = replace(LOB, features=LOB.features[:13])
    with pytest.raises(SearchError, match=r"depth reads columns that it does not have \(v1, v6, v7\)"):
        require_allowed(StudySpec.from_json(FLOW), few)


def test_features_that_disagree_are_refused_at_create(features_file: Path) -> None:
    """Before the study exists."""
    features_file.write_text(features_file.read_text().replace(".tril()", ""))
    with pytest.raises(PluginError, match="forward and forward_step differ first at step 0, column pressure_mean"):
        sources = load_plugins([features_file])
        used_plugins(StudySpec.from_json(FLOW), sources, 1)


GAIN: dict[str, Any] = {
    "name": "gain",
    "parameters": {"hidden_size": {"choices": [4, 6]}, "num_layers": 1, "batch_size": 12, "epochs": 2},
    "baselines": [{"hidden_size": 4}, {"hidden_size": 6}],
    "pruner": {"name": "none"},
    "budget": {"trials": 2},
}


@pytest.fixture
def gain_file(tmp_path: Path) -> Path:
    """The page's metric in a file."""
    path = tmp_path / "gain.py"
    path.write_text(blocks_of_files()["gain.py"])
    return path


@pytest.fixture
def gain_data(small_data: Path, tmp_path: Path) -> Path:
    """Data whose schema names it."""
    folder = tmp_path / "gain-data"
    folder.mkdir()
    for name in ("train.parquet", "valid.parquet"):
        (folder / name).symlink_to(small_data / name)
    (folder / "schema.yaml").write_text(blocks_of_files()["gain/schema.yaml"])
    return folder


def test_a_metric_travels_with_the_study_of_its_data(gain_file: Path, gain_data: Path, tmp_path: Path) -> None:
    """Created with the data, trained where it is trusted; elsewhere the study is read and ranked without its code."""
    url, sources = f"sqlite:///{tmp_path}/gain.db", load_plugins([gain_file])
    spec = StudySpec.from_json(GAIN)
    create(spec, url, gain_data, plugins=checked_plugins(spec, sources, 1, gain_data))
    elsewhere()
    with pytest.raises(SearchError, match=r"uses the plugin gain\.py \(metric gain\)"):
        work(url, "gain", gain_data, options=WorkOptions(device="cpu"))
    options = WorkOptions(device="cpu", keep_folder=tmp_path, trust_plugins=True, runs_per_device=2)
    assert work(url, "gain", gain_data, options=options).outcomes == {"complete": 2}
    values = [trial.value for trial in open_study(url, "gain").get_trials()]
    elsewhere()
    assert rank(url, "gain").schema.metric == "gain"
    assert "of the data's metric, gain" in html.unescape(build_report(open_study(url, "gain")).html)
    assert all(value is not None and -1 < value < 1 for value in values)


def test_what_data_with_a_metric_needs(gain_file: Path, gain_data: Path, small_data: Path, tmp_path: Path) -> None:
    """The data at `create`, the plugin's file, and a study that holds it."""
    url, spec = f"sqlite:///{tmp_path}/gain.db", StudySpec.from_json(GAIN)
    with pytest.raises(SearchError, match="scored by the metric 'gain' of a plugin, which the study does not hold"):
        create(spec, url, gain_data)
    sources = load_plugins([gain_file])
    said = r"uses nothing of gain\.py: write `metric: {plugin: gain}` in the schema of the data, name that data with"
    for data in (None, small_data):
        with pytest.raises(SearchError, match=said):
            checked_plugins(spec, sources, 1, data)
    with pytest.raises(SearchError, match="uses the metric 'gain' of a plugin, whose source must go with it"):
        checked_plugins(spec, [], 0, gain_data)
    gain_file.write_text(gain_file.read_text().replace("(np.sign(p) * y)", "-(np.sign(p) * y)"))
    with forgotten(), pytest.raises(PluginError, match="better predictions must have higher scores"):
        checked_plugins(spec, load_plugins([gain_file]), 1, gain_data)
