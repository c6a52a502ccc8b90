"""A configuration in a few words."""

from lobmodels.config import RunConfig
from search.study.words import brief


def test_a_recipe_in_a_line() -> None:
    """Architecture, size, loss, learning rate, and the feature groups that are on."""
    config = RunConfig.parse({"architecture": "gru", "num_layers": 3, "hidden_size": 64, "lr": 9.06e-4, "lag": True})
    assert brief(config.active()) == "gru 3x64, mse, lr 0.00091, +lag"
    assert brief(RunConfig.parse({"lr": 1e-3}).active()).endswith(", lr 0.001")


def test_a_foreign_configuration() -> None:
    """Of a trial that lobtuna did not run, its first values; nothing of nothing."""
    assert brief({"x": 0.123456, "kind": "a"}) == "x 0.12, kind a"
    assert brief({}) == ""
