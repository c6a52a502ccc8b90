"""Configurations refuse what contradicts itself, all at once, and are named by what is active."""

import pytest

from lobmodels.config import REQUIRES, RunConfig
from lobmodels.errors import ConfigError

KEY_OF_THE_DEFAULTS = "5c677afa8a82"  # in version 0.1.0


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"attention_window": 64}, "attention_window=64 needs architecture to be gru_attention"),
        ({"ema_ramp": True}, "ema_ramp=True needs ema_decay to be above 0, not 0.0"),
        ({"temporal": True}, "temporal=True needs derived to be True"),
        ({"scheduler": "linear"}, "scheduler='linear'"),
        ({"architecture": "gru_attention", "hidden_size": 30}, "multiple of attention_heads"),
        ({"lr": float("nan")}, "lr=nan"),
        ({"lr": "fast"}, "lr='fast'"),
        ({"hidden_size": 0}, "hidden_size=0"),
        ({"learning_rate": 1e-3}, "learning_rate=0.001"),
        ({"t0_weight": 0, "t1_weight": 0}, "nothing would be learned"),
        ({"scheduler": "cosine", "warmup_epochs": 9, "epochs": 5}, "less than epochs=5"),
        ({"weighted_ratio": 0.3}, "needs loss to be combined or pearson_combined"),
    ],
)
def test_contradictions_are_refused(values: dict, message: str) -> None:
    """One clear line names the value and the rule."""
    with pytest.raises(ConfigError, match=message.replace("(", r"\(")):
        RunConfig.parse(values)


def test_all_problems_at_once() -> None:
    """Nobody repairs a configuration one error at a time."""
    with pytest.raises(ConfigError) as caught:
        RunConfig.parse({"lr": -1, "dropout": 1.0, "hiden_size": 3})
    assert len(caught.value.problems) == 3


def test_key_ignores_what_is_switched_off() -> None:
    """Equal active values are one configuration, whatever defaults were spelled out; another value is another."""
    assert RunConfig.parse({}).key() == RunConfig.parse({"hidden_size": 64, "temporal": False}).key()
    assert RunConfig.parse({}).key() != RunConfig.parse({"hidden_size": 65}).key()
    assert not set(REQUIRES) & set(RunConfig.parse({"scheduler": "none"}).active())


def test_active_values_parse_again() -> None:
    """What a checkpoint stores is a configuration, and the same one."""
    config = RunConfig.parse({"architecture": "gru_attention", "loss": "huber", "derived": True, "temporal": True})
    assert RunConfig.parse(config.active()) == config


def test_later_parameters_leave_old_configurations_what_they_are() -> None:
    """The key of a configuration of the first version is the one it had then; a recipe that is on gives another."""
    assert RunConfig.parse({}).key() == KEY_OF_THE_DEFAULTS
    assert not set(RunConfig.parse({}).identity()) & {"conv_kernel", "rolling_mean", "target_clip", "swa_epochs"}
    assert RunConfig.parse({"swa_epochs": 3}).identity()["swa_epochs"] == 3
    assert RunConfig.parse({"swa_epochs": 3}).key() != KEY_OF_THE_DEFAULTS
    assert RunConfig.parse({"snapshots": 1, "epoch_per_target": False}).key() == KEY_OF_THE_DEFAULTS
    assert RunConfig.parse({"snapshots": 2}).key() != KEY_OF_THE_DEFAULTS


def test_a_ramp_is_another_configuration() -> None:
    """Off, it leaves a moving average's key alone; on, it gives another."""
    plain = RunConfig.parse({"ema_decay": 0.9})
    assert RunConfig.parse({"ema_ramp": False, "ema_decay": 0.9}).key() == plain.key()
    assert RunConfig.parse({"ema_ramp": True, "ema_decay": 0.9}).key() != plain.key()
    assert "ema_ramp" not in RunConfig.parse({}).active()
