"""A plugin's features are appended to whole sequences, computed for the parameters of each run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lobmodels.checkpoint import Checkpoint
from lobmodels.config import RunConfig
from lobmodels.ensemble import runtime
from lobmodels.errors import CheckpointError, ConfigError, UnknownNameError
from lobmodels.inputs import InputPipeline, available_groups, missing_columns
from lobmodels.own_features import CODE, LIMIT, OwnFeatures, names_of
from lobmodels.plugins.loading import load_file
from lobmodels.schema import LOB
from tests.lobmodels.ensemble.made_runs import rows, run
from tests.plugin_files import blocks_of_files, forgotten

ON: dict[str, Any] = {"depth": True, "pressure": True, "half_life": 6.0}


@pytest.fixture(autouse=True)
def _plugin(tmp_path: Path) -> Iterator[None]:
    (tmp_path / "pressure.py").write_text(blocks_of_files()["pressure.py"])
    with forgotten():
        load_file(tmp_path / "pressure.py")
        yield


def pipeline(normalizer: str = "none", **values: Any) -> InputPipeline:
    """Fitted on made-up rows for a configuration of these values."""
    config = RunConfig.parse(values)
    return InputPipeline.fit(rows(5, 60), config.feature_groups(), normalizer, LOB, settings=config.feature_settings())


def test_configurations_name_groups_and_their_parameters() -> None:
    """Groups of plugins come behind the others, by name; parameters belong to their group; a key depends on both. A
    configuration without them is what it was, and mentions them only where it was asked to."""
    config = RunConfig.parse({**ON, "lag": True})
    assert config.feature_groups() == ("lag", "depth", "pressure")
    assert config.feature_settings() == (("half_life", 6.0),)
    assert len({RunConfig.parse(values).key() for values in (ON, {**ON, "half_life": 7.0}, {"depth": True}, {})}) == 4
    with pytest.raises(ConfigError, match=r"half_life=6\.0 needs pressure to be True, not False"):
        RunConfig.parse({"half_life": 6.0})
    plain, asked = RunConfig.parse({"lag": True}), RunConfig.parse({"lag": True, "pressure": False})
    assert plain.feature_settings() == () and plain.key() == asked.key() == run("a#0", lag=True).config.key()
    assert not {"depth", "pressure", "half_life"} & set(plain.active()) and asked.active()["pressure"] is False


EARLIER = RunConfig.parse({"lag": True})  # made before any plugin was loaded


def test_a_configuration_that_is_older_than_the_plugin() -> None:
    """In a notebook a plugin may be loaded when configurations are there already: they do not use it."""
    now = RunConfig.parse({"lag": True})
    assert EARLIER.feature_groups() == now.feature_groups() == ("lag",)
    assert EARLIER.feature_settings() == now.feature_settings()
    assert EARLIER.key() == now.key() and EARLIER.active() == now.active()


def test_values_are_those_of_the_formula() -> None:
    """By a loop in numpy, behind a built-in group, in float64, and normalised by their own mean and deviation."""
    raw = rows(3, 40, seed=3)
    v = raw.astype(np.float64)
    now = (v[..., 12] - v[..., 18]) / (np.abs(v[..., 12]) + np.abs(v[..., 18]) + 1e-6)
    mean, keep = np.zeros(now.shape), 0.5 ** (1 / 6.0)
    for t in range(40):
        mean[:, t] = (keep * mean[:, t - 1] if t else 0.0) + (1 - keep) * now[:, t]
    made = pipeline(lag=True, **ON)
    found = made(torch.from_numpy(raw)).numpy()
    assert made.names[-14:] == (*names_of(("lag",)), "depth_imbalance", "pressure_mean")
    assert np.abs(found[..., -1] - mean).max() < 1e-6
    near, far = v[..., 12:14].sum(-1), v[..., 18:20].sum(-1)
    assert np.abs(found[..., -2] - (near - far) / (np.abs(near) + np.abs(far) + 1e-6)).max() < 1e-6
    scaled = pipeline("zscore", **ON)(torch.from_numpy(rows(5, 60))).double()
    assert scaled[..., -2:].mean((0, 1)).abs().max() < 1e-5 and (scaled[..., -2:].std((0, 1)) - 1).abs().max() < 1e-2


def test_the_parameters_of_a_run_decide() -> None:
    """Two values give two features; both are kept in the checkpoint and read back."""
    raw = torch.from_numpy(rows(2, 30))
    slow, fast = pipeline(pressure=True, half_life=40.0), pipeline(pressure=True, half_life=2.0)
    assert not torch.equal(slow(raw), fast(raw))
    member = run("a#0", hidden_size=4, **ON)
    again = Checkpoint.from_bytes(member.to_bytes())
    assert again.pipeline.settings == (("half_life", 6.0),)
    assert np.array_equal(again.predict(rows(2, 20)), member.predict(rows(2, 20)))


def test_what_data_and_process_must_have() -> None:
    """Columns that are not there, code that was not run, a name that nobody declared: each is one line."""
    few = replace(LOB, features=LOB.features[:18])
    assert missing_columns("pressure", few) == ["v6"] and "pressure" not in available_groups(LOB)
    with pytest.raises(ConfigError, match="pressure=True reads columns that the data does not have: v6"):
        InputPipeline(("pressure",), None, few)
    with pytest.raises(UnknownNameError, match="no feature group is registered as 'moonphase'; registered: depth"):
        InputPipeline(("moonphase",), None, LOB)
    blob = run("a#0", hidden_size=4, pressure=True).to_bytes()
    del CODE._entries["pressure"]
    known = Checkpoint.from_bytes(blob)  # its declaration is enough to read a checkpoint
    with pytest.raises(ConfigError, match="whose source was not run here: name its file with `plugin`"):
        known.predict(rows(1, 5))
    with forgotten():
        from lobmodels.plugins.declarations import DECLARED

        DECLARED.clear()
    assert OwnFeatures("depth").settings == ()


def test_a_feature_that_is_not_finite_on_the_data(tmp_path: Path) -> None:
    """It is named with its step, whether or not a normaliser looks at the rows."""
    (tmp_path / "logs.py").write_text(
        "from lobtuna.plugins import features\n"
        '@features("logs", reads=["v0"], gives=["log_v0"])\ndef logs(x, config):\n    return x.log()\n'
    )
    load_file(tmp_path / "logs.py")
    raw = np.abs(rows(20, 30)) + 0.1
    raw[17, 9, 12] = -1.0
    for normalizer in ("none", "zscore"):
        with pytest.raises(ConfigError, match=r"feature log_v0 of a plugin is not a finite number .* first at step 9"):
            InputPipeline.fit(raw, ("logs",), normalizer, LOB)


def test_sizes_are_bounded_as_the_runtime_bounds_them(tmp_path: Path) -> None:
    """A feature beyond the runtime's limit is cut to it in training too."""
    (tmp_path / "huge.py").write_text(
        "from lobtuna.plugins import features\n"
        '@features("huge", reads=["v0"], gives=["huge_v0"])\ndef huge(x, config):\n    return x * 1e9\n'
    )
    load_file(tmp_path / "huge.py")
    assert LIMIT == runtime.LIMIT
    assert InputPipeline(("huge",), None, LOB)(torch.from_numpy(rows(1, 50)))[..., -1].abs().max() == LIMIT


def test_a_checkpoint_says_what_is_missing_without_the_plugin() -> None:
    """Where nothing was declared, the flag is unknown."""
    blob = run("a#0", hidden_size=4, pressure=True).to_bytes()
    from lobmodels.config import REQUIRES
    from lobmodels.plugins.declarations import DECLARED

    fields = RunConfig.__pydantic_fields__
    for name in ("pressure", "half_life"):
        del fields[name]
    del REQUIRES["half_life"], DECLARED["feature group", "pressure"]
    RunConfig.model_rebuild(force=True)
    with pytest.raises(CheckpointError, match="pressure"):
        Checkpoint.from_bytes(blob)
