"""Configurations accept what a plugin declares, with its bounds, and nothing else of them changes."""

from __future__ import annotations

import pytest

from lobmodels.config import RunConfig
from lobmodels.errors import ConfigError, PluginError
from lobmodels.plugins.declarations import Choice, Declaration, Flag, Float, Int, declare

PARTS = {"taps": Int(2, 64, 8), "leak": Float(0.0, 1.0, 0.1), "how": Choice(["mean", "last"]), "tied": Flag()}
DECLARED = Declaration("network", "conv", PARTS)


def test_parameters_are_checked_and_inactive_elsewhere() -> None:
    """Bounds, words and types; without the network they mean nothing and are refused; other keys stay."""
    plain = RunConfig.parse({"hidden_size": 8}).key()
    declare(DECLARED)
    config = RunConfig.parse({"architecture": "conv", "taps": 4, "how": "last"})
    assert (config.active()["taps"], config.active()["leak"]) == (4, 0.1)
    assert RunConfig.parse({"hidden_size": 8}).key() == plain
    assert config.key() != RunConfig.parse({"architecture": "conv", "taps": 5, "how": "last"}).key()
    for values, said in (
        ({"architecture": "conv", "taps": 65}, "taps=65"),
        ({"architecture": "conv", "how": "best"}, "'mean' or 'last'"),
        ({"architecture": "gru", "taps": 4}, "taps=4 needs architecture to be conv"),
        ({"architecture": "convy"}, "'gru_attention' or 'conv'"),
    ):
        with pytest.raises(ConfigError, match=said):
            RunConfig.parse(values)


def test_a_declaration_travels_as_json() -> None:
    """What a study stores of it can be declared elsewhere; damage is one line."""
    declare(DECLARED)
    again = Declaration.from_json(DECLARED.to_json())
    assert again.to_json() == DECLARED.to_json()
    declare(again)
    for damaged in ({}, {**DECLARED.to_json(), "parameters": {"taps": {"type": "tensor"}}}, {"kind": "network"}):
        with pytest.raises(PluginError, match="a stored declaration of a plugin cannot be read"):
            Declaration.from_json(damaged)


def test_clashes_between_plugins() -> None:
    """Another declaration of the name, a parameter of another part, and an unknown kind are refused."""
    declare(DECLARED)
    with pytest.raises(PluginError, match="declared twice with other parameters in one process"):
        declare(Declaration("network", "conv", {"taps": Int(2, 32, 8)}))
    with pytest.raises(PluginError, match="parameter 'taps' belongs to 'conv' already"):
        declare(Declaration("network", "other", {"taps": Int(2, 32, 8)}))
    with pytest.raises(PluginError, match="kind network, loss, feature group or metric"):
        declare(Declaration("feature", "f", {}))
    declare(Declaration("network", "conv", {"kernel": Int(1, 9, 3)}), replace=True)
    assert RunConfig.parse({"architecture": "conv"}).active()["kernel"] == 3
    with pytest.raises(ConfigError, match="taps"):
        RunConfig.parse({"architecture": "conv", "taps": 4})
