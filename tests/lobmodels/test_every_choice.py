"""Every word and every feature flag that a configuration accepts works from training to submission and graph."""

from __future__ import annotations

import io
import typing
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lobmodels import features
from lobmodels.checkpoint import Checkpoint
from lobmodels.config import FEATURE_FLAGS, REQUIRES, RunConfig
from lobmodels.data import Dataset
from lobmodels.ensemble import graph, runtime
from lobmodels.ensemble.bundle import Bundle, read_submission, submission_bytes
from lobmodels.errors import UnknownNameError
from lobmodels.inputs import NORMALIZERS, InputPipeline
from lobmodels.networks import ARCHITECTURES, HEADS, INPUT_BLOCKS, build_network
from lobmodels.schema import LOB
from lobmodels.training.batches import RunData
from lobmodels.training.losses import LOSSES, build_loss
from lobmodels.training.optimization import SCHEDULERS, Schedule, build_optimizer
from lobmodels.training.run import TrainingRun
from tests.lobmodels.ensemble.made_runs import rows

SMALL = {"hidden_size": 8, "num_layers": 2, "batch_size": 8, "epochs": 2, "lr": 1e-2}
TOLERANCE = 1e-5
WORDS = {
    name: typing.get_args(field.annotation)
    for name, field in RunConfig.model_fields.items()
    if typing.get_origin(field.annotation) is typing.Literal
}
CHOICES: list[tuple[str, Any]] = [(name, word) for name, words in WORDS.items() for word in words]
CHOICES += [(flag, True) for flag in FEATURE_FLAGS]
# Recipes that are switched on by a number or with another parameter.
RECIPES: dict[tuple[str, Any], dict[str, Any]] = {
    ("target_clip", 0.5): {},
    ("ema_decay", 0.9): {},
    ("ema_ramp", True): {"ema_decay": 0.9},
    ("swa_epochs", 2): {},
    ("snapshots", 2): {},
    ("epoch_per_target", True): {"snapshots": 2},
    ("conv_kernel", 1): {"input_block": "convolution"},
    ("conv_kernel", 12): {"input_block": "convolution", "derived": True, "normalizer": "zscore"},
}
CHOICES += RECIPES
REGISTRIES: dict[str, tuple[str, ...]] = {
    "architecture": ARCHITECTURES.names,
    "input_block": INPUT_BLOCKS.names,
    "head": HEADS.names,
    "normalizer": NORMALIZERS.names,
    "loss": LOSSES.names,
    "scheduler": SCHEDULERS.names,
}


def configuration(name: str, value: Any) -> RunConfig:
    """The smallest configuration in which `name` has this value, with what it needs."""
    values = {name: value, **RECIPES.get((name, value), {})}
    while name in REQUIRES:
        name, allowed = REQUIRES[name]
        if name not in values:
            assert isinstance(allowed, tuple), f"add {name} to RECIPES"
            values[name] = allowed[0]
    return RunConfig.parse(SMALL | values)


@pytest.fixture(scope="module")
def trained(small_dataset: Dataset) -> dict[tuple[str, Any], Checkpoint]:
    """One epoch of every choice, three of those that keep two, each read back from its checkpoint's bytes."""
    found: dict[tuple[str, Any], Checkpoint] = {}
    done: dict[str, bytes] = {}
    for choice in CHOICES:
        config = configuration(*choice)
        if config.key() not in done:
            run = TrainingRun(config, 0, RunData.prepare(small_dataset, config))
            for _ in range(2 * config.snapshots - 1):
                run.train_epoch()
            done[config.key()] = run.result(f"joint#{len(done)}").to_bytes()
        found[choice] = Checkpoint.from_bytes(done[config.key()])
    return found


@pytest.fixture(scope="module")
def bundle(trained: dict[tuple[str, Any], Checkpoint], tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """All of them as one ensemble, exported and read back from the zip."""
    members = {checkpoint.name: checkpoint for checkpoint in trained.values()}
    path = tmp_path_factory.mktemp("choices") / "submission.zip"
    path.write_bytes(submission_bytes(Bundle.of(list(members.values()))))
    return read_submission(path).bundle()


@pytest.fixture(scope="module")
def raw() -> np.ndarray:
    """Rows (1, 60, 32): more than the longest window."""
    return rows(1, 60)


def of(bundle: Bundle, trained: dict[tuple[str, Any], Checkpoint], choice: tuple[str, Any]) -> int:
    """The place of a choice's run among the members."""
    return [member.name for member in bundle.members].index(trained[choice].name)


@pytest.fixture(scope="module")
def whole(bundle: Bundle, raw: np.ndarray) -> np.ndarray:
    """Predictions (T, K, 2) of the members by torch over the whole sequence."""
    return np.stack([member.predict(raw)[0] for member in bundle.members], 1)


@pytest.fixture(scope="module")
def online(bundle: Bundle, raw: np.ndarray) -> dict[str, np.ndarray]:
    """Predictions (T, K, 2) of the members row by row, on each backend of the submission's runtime: of a run's networks
    the sum by their shares."""
    found = {}
    shares = np.concatenate([member.shares for member in bundle.members])  # (M, 2)
    starts = np.cumsum([0, *(len(member.singles) for member in bundle.members[:-1])])
    for backend in ("numpy", "numba"):
        predictor = bundle.predictor(backend)
        networks = [(predictor.predict(0, t, True, row), predictor.members)[1] for t, row in enumerate(raw[0])]
        found[backend] = np.add.reduceat(np.stack(networks) * shares, starts, axis=1)
    return found


@pytest.mark.parametrize("choice", CHOICES, ids=lambda choice: f"{choice[0]}={choice[1]}")
def test_trains_and_predicts_online_what_torch_predicts(
    choice: tuple[str, Any],
    trained: dict[tuple[str, Any], Checkpoint],
    bundle: Bundle,
    whole: np.ndarray,
    online: dict[str, np.ndarray],
) -> None:
    """An epoch, a checkpoint, an export, and the same predictions within 1e-5 on both backends."""
    name, value = choice
    k = of(bundle, trained, choice)
    assert getattr(bundle.members[k].config, name) == value
    assert whole[:, k].std() > 1e-4, "a network that predicts a constant proves nothing"
    for backend, predictions in online.items():
        assert np.abs(predictions[:, k] - whole[:, k]).max() < TOLERANCE, backend


def test_the_graph_predicts_what_torch_predicts(bundle: Bundle, raw: np.ndarray, whole: np.ndarray) -> None:
    """The ONNX graph of all choices together, every member's weight in turn the largest."""
    count = len(bundle.members)
    weights = np.random.default_rng(0).dirichlet(np.ones(count), 2).T
    session = graph.open_session(graph.graph_bytes(Bundle.of(bundle.members, weights)))
    state = graph.initial_state(session)
    for t, row in enumerate(raw[0].astype(np.float64)):
        prediction, state = graph.step(session, row, t, state)
        assert np.abs(prediction - (weights * whole[t]).sum(0)).max() < TOLERANCE


def test_each_choice_changes_something(trained: dict[tuple[str, Any], Checkpoint], raw: np.ndarray) -> None:
    """No two words of a parameter give the same run: a word that does nothing is not wired."""
    for name, words in WORDS.items():
        seen: dict[bytes, str] = {}
        for word in words:
            if word == "plateau":  # acts from the second epoch on: tests/lobmodels/training/test_optimization.py
                continue
            same = seen.setdefault(trained[name, word].predict(raw).tobytes(), word)
            assert same == word, f"{name}: {word} gives the run of {same}"
    default = trained["architecture", "gru"].predict(raw)
    assert not any(np.array_equal(default, trained[flag, True].predict(raw)) for flag in FEATURE_FLAGS)


def test_choices_of_epochs_are_walked(bundle: Bundle, trained: dict[tuple[str, Any], Checkpoint]) -> None:
    """Both runs consist of several networks: a choice that kept one would prove nothing above."""
    for choice in (("snapshots", 2), ("epoch_per_target", True)):
        assert len(bundle.members[of(bundle, trained, choice)].epochs) >= 2


def test_the_zip_carries_the_runtime_as_it_is(bundle: Bundle) -> None:
    """The files beside the weights are the ones that were tested here."""
    with zipfile.ZipFile(io.BytesIO(submission_bytes(bundle))) as archive:
        for module in (runtime, features):
            assert archive.read(f"{module.__name__.split('.')[-1]}.py") == Path(str(module.__file__)).read_bytes()


@pytest.mark.parametrize("name", REGISTRIES)
def test_registries_and_words_agree(name: str) -> None:
    """What a configuration accepts is registered, and what is registered is accepted."""
    assert set(REGISTRIES[name]) == set(WORDS[name])


def test_every_word_has_a_registry() -> None:
    """A parameter of words without a registry would have an `else` somewhere."""
    assert set(WORDS) == set(REGISTRIES)


def test_flags_and_groups_agree() -> None:
    """Every feature group has its flag, in the order in which groups are appended; no flag is without a group."""
    assert tuple(features.GROUPS) == FEATURE_FLAGS


@pytest.mark.parametrize("name", WORDS)
def test_a_word_that_is_only_in_the_literal_is_refused(name: str, small_dataset: Dataset) -> None:
    """`rnn` in the `Literal` and nowhere else stops when the run is built, with the value and the known ones."""
    config = RunConfig.model_construct(**{**RunConfig.parse(SMALL).model_dump(), name: "rnn"})
    with pytest.raises(UnknownNameError, match=rf"no .* is registered as 'rnn'; registered: .*{WORDS[name][0]}"):
        TrainingRun(config, 0, RunData.prepare(small_dataset, config))


def test_a_flag_without_a_group_is_refused() -> None:
    """A group that the definitions lack is refused when the pipeline is fitted."""
    with pytest.raises(UnknownNameError, match="no feature group is registered as 'moonphase'; registered: derived, "):
        InputPipeline.fit(rows(1, 5), ("moonphase",), "none", LOB)


@pytest.mark.parametrize("field", ["architecture", "input_block", "head"])
def test_a_word_without_an_online_step_is_refused(field: str, bundle: Bundle) -> None:
    """The submission's runtime does not step a network that it does not know, whatever the backend."""
    manifest = bundle.manifest()
    manifest["members"][0][field] = "rnn"
    for backend in ("auto", "numpy", "numba"):
        with pytest.raises(runtime.RuntimeFormatError, match=f"{field} 'rnn' has no online step"):
            runtime.Ensemble(manifest, bundle.tensors(), features, backend)


def test_building_alone_refuses_too() -> None:
    """Each builder, called by itself, raises for an unknown name."""
    for name, build in {
        "architecture": lambda config: build_network(config, 32),
        "loss": build_loss,
        "scheduler": lambda config: Schedule(build_optimizer(torch.nn.Linear(1, 1), config), config, 3),
    }.items():
        config = RunConfig.model_construct(**{**RunConfig.parse(SMALL).model_dump(), name: "rnn"})
        with pytest.raises(UnknownNameError):
            build(config)
