"""Configurations out of a space and back into it."""

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lobmodels.config import RunConfig
from search.errors import SpaceError
from search.studyfile.space import suggest, to_params
from search.studyfile.spec import StudySpec

optuna.logging.set_verbosity(optuna.logging.WARNING)

SPEC = StudySpec.from_json(
    {
        "name": "s",
        "parameters": {
            "architecture": {"choices": ["gru", "gru_attention"]},
            "attention_window": 64,
            "hidden_size": {"int": [32, 160], "step": 16},
            "num_layers": {"int": [1, 3], "or": [5]},
            "lr": {"float": [2e-4, 3e-3], "log": True},
            "weight_decay": {"float": [1e-6, 3e-4], "log": True, "or": 0.0},
            "dropout": {"float": [0.0, 0.5], "step": 0.1, "when": {"num_layers": [2, 3]}},
            "temporal": {"choices": [False, True]},
            "derived": {"choices": [False, True]},
            "loss": {"choices": ["mse", "combined", "pearson_combined"]},
            "pearson_alpha": {"float": [0.4, 0.95]},
            "weighted_ratio": 0.62,
        },
    }
)


RECIPES = StudySpec.from_json(
    {
        "name": "s",
        "parameters": {
            "input_block": {"choices": ["none", "convolution"]},
            "conv_kernel": {"int": [2, 8]},
            "head": {"choices": ["mlp", "mlp_per_target"]},
            "rolling_mean": {"choices": [False, True]},
            "rolling_delta": {"choices": [False, True]},
            "loss": {"choices": ["mse", "weighted_huber"]},
            "huber_delta": {"float": [0.3, 3.0], "log": True},
            "target_clip": {"float": [2.0, 8.0], "or": 0.0},
            "ema_decay": {"float": [0.9, 0.999], "or": 0.0},
            "ema_ramp": {"choices": [False, True]},
            "swa_epochs": {"int": [2, 6], "or": 0},
            "snapshots": {"int": [1, 4]},
            "epoch_per_target": {"choices": [False, True]},
        },
    }
)


@pytest.mark.parametrize("spec", [SPEC, RECIPES], ids=["conditions", "recipes"])
@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_a_suggested_configuration_goes_back_to_its_parameters(spec: StudySpec, seed: int) -> None:
    """`to_params` gives exactly what Optuna was asked, so that an enqueued configuration is the same trial."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    trial = study.ask()
    config = suggest(spec, trial)
    params = to_params(spec, config)
    assert params == trial.params
    study.enqueue_trial(params)
    again = study.ask()
    assert suggest(spec, again) == config and again.params == trial.params


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**31))
def test_conditions_hold_in_every_configuration(seed: int) -> None:
    """Only what means something is asked; fixed values that the configuration switches off are dropped."""
    trial = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed)).ask()
    config = suggest(SPEC, trial)
    assert ("pearson_alpha" in trial.params) == (config.loss == "pearson_combined")
    assert ("temporal" in trial.params) == config.derived
    assert ("dropout" in trial.params) == (config.num_layers in (2, 3))
    assert config.num_layers in (1, 2, 3, 5) and (config.weight_decay == 0 or 1e-6 <= config.weight_decay <= 3e-4)
    assert config.weighted_ratio == (0.5 if config.loss == "mse" else 0.62)
    assert config.attention_window == (64 if config.architecture == "gru_attention" else 128)


def test_a_ramp_is_asked_only_with_a_moving_average() -> None:
    """A condition may be a bound: `ema_ramp` needs `ema_decay` above 0, also where that is searched over a range."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=2))
    for trial in (study.ask() for _ in range(20)):
        assert (suggest(RECIPES, trial).ema_decay > 0) == ("ema_ramp" in trial.params)


def test_an_or_value_is_drawn_as_often_as_the_range() -> None:
    """Zero is a choice of its own, not a point that a real range never hits."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    zeros = sum(suggest(SPEC, study.ask()).weight_decay == 0 for _ in range(200))
    assert 70 < zeros < 130


@pytest.mark.parametrize(
    ("change", "piece"),
    [
        ({"hidden_size": 40}, "hidden_size=40 is not 32 to 160 in steps of 16"),
        ({"lr": 1.0}, "lr=1 is not 0.0002 to 0.003"),
        ({"architecture": "lstm"}, "architecture=lstm is not one of gru, gru_attention"),
        ({"batch_size": 64}, "batch_size=64 is not 192"),
        ({"num_layers": 1, "dropout": 0.2}, "dropout=0.2 is not 0, as the study has it here"),
        ({"loss": "combined", "weighted_ratio": 0.1}, "weighted_ratio=0.1 is not 0.62"),
    ],
)
def test_a_configuration_outside_the_space_is_refused(change: dict, piece: str) -> None:
    """The refusal names the parameter, its value, and what the study would have there."""
    values = {"hidden_size": 64, "lr": 1e-3, "num_layers": 2, "dropout": 0.1, "loss": "mse"}
    to_params(SPEC, RunConfig.parse(values))
    with pytest.raises(SpaceError) as caught:
        to_params(SPEC, RunConfig.parse({**values, **change}))
    assert piece in str(caught.value)
