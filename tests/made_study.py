"""Studies as weeks of workers would leave them, made in seconds: for the report, the notes and the dashboard.

The scores follow a known truth (which parameters matter, how noisy a seed is, who peaks early), so that a test can
ask whether a report finds it.
"""

import dataclasses
import json
import math
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import sqlalchemy as sa
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution, distribution_to_json
from optuna.storages import BaseStorage
from optuna.storages._rdb import models
from optuna.trial import FrozenTrial, TrialState, create_trial

from lobmodels.config import RunConfig
from search.study.create import create_in
from search.study.orders import seed_list
from search.study.replication import open_replicates
from search.study.runs import finished_runs
from search.studyfile.space import suggest
from search.studyfile.spec import StudySpec
from search.work.history import history_csv
from storage.artifacts import attribute_of, upload_all
from storage.store import StoreStorage, artifacts_of

optuna.logging.set_verbosity(optuna.logging.WARNING)

START = datetime(2026, 3, 2, 8, 0)
NOISE = 0.004  # standard deviation of a score under its seed
SPEC = StudySpec.from_json(
    {
        "name": "joint",
        "question": "Which recipe generalises best in one T4 day?  ~200 trials, 24 GPU hours",
        "parameters": {
            "architecture": {"choices": ["gru", "gru_attention"]},
            "input_block": {"choices": ["none", "projection"]},
            "hidden_size": {"int": [32, 160], "step": 16},
            "num_layers": {"int": [1, 3]},
            "lr": {"float": [2e-4, 3e-3], "log": True},
            "weight_decay": {"float": [1e-6, 3e-4], "log": True, "or": 0.0},
            "derived": {"choices": [False, True]},
            "temporal": {"choices": [False, True], "when": {"derived": True}},
            "loss": {"choices": ["mse", "combined", "pearson_combined"]},
            "pearson_alpha": {"float": [0.4, 0.95], "when": {"loss": "pearson_combined"}},
            "dropout": {"float": [0.0, 0.4]},
            "batch_size": 192,
            "epochs": 30,
        },
        "pruner": {"name": "median", "warmup_epochs": 8, "startup_trials": 8, "patience": 2},
        "budget": {"trials": 200, "hours": 24.0},
    }
)
WORKERS = (("kaggle-a:41", "Tesla T4", 1.0), ("kaggle-b:77", "Tesla T4", 1.05), ("spot-1:12", "NVIDIA L4", 0.6))


@dataclasses.dataclass
class _Draw:
    """Stands in for an Optuna trial: draws from `rng`, near `centre` where one is given, and remembers."""

    rng: np.random.Generator
    centre: dict[str, Any]
    params: dict[str, Any] = dataclasses.field(default_factory=dict)
    distributions: dict[str, Any] = dataclasses.field(default_factory=dict)

    def suggest_categorical(self, name: str, choices: Any) -> Any:
        near = name in self.centre and self.rng.random() < 0.7
        value = self.centre[name] if near else choices[int(self.rng.integers(len(choices)))]
        return self._keep(name, value, CategoricalDistribution(choices))

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int:
        position = self._position(name, lambda v: (v - low) / (high - low))
        value = low + step * round(position * (high - low) / step)
        return int(self._keep(name, value, IntDistribution(low, high, step=step, log=log)))

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        def place(value: float) -> float:
            return math.log(value / low) / math.log(high / low) if log else (value - low) / (high - low)

        position = self._position(name, place)
        value = low * (high / low) ** position if log else low + position * (high - low)
        value = min(max(value, low), high)
        return float(self._keep(name, value, FloatDistribution(low, high, log=log, step=step)))

    def _position(self, name: str, place: Any) -> float:
        if name not in self.centre:
            return float(self.rng.random())
        return float(np.clip(place(self.centre[name]) + self.rng.normal(0, 0.15), 0, 1))

    def _keep(self, name: str, value: Any, distribution: Any) -> Any:
        self.params[name], self.distributions[name] = value, distribution
        return value


def true_score(config: RunConfig) -> float:
    """What the configuration is worth: lr and loss matter most, dropout not at all."""
    score = 0.268 - 0.018 * (math.log10(config.lr) - math.log10(9e-4)) ** 2 / 0.1
    score += {"mse": 0.004, "combined": 0.0, "pearson_combined": -0.006}.get(config.loss, 0.0)
    score += {"none": 0.003, "projection": 0.0}[config.input_block]
    score -= 0.00002 * max(config.hidden_size - 80, 0)
    if config.hidden_size >= 128 and config.input_block == "none":
        score -= 0.008  # an interaction
    return score - (0.002 if config.temporal else 0.0)


def make_study(
    storage: BaseStorage,
    trials: int,
    *,
    seed: int = 0,
    spec: StudySpec = SPEC,
    replicates: tuple[int, int] = (0, 0),
    failures: float = 0.04,
    artifacts: bool = False,
) -> optuna.Study:
    """A study of `trials` ended trials; `replicates` = (configurations, further seeds each) of its best ones."""
    study = create_in(storage, spec, "f3a9c1d2e4b5f6a7", baselines=False)
    rng = np.random.default_rng(seed)
    fleet = _Fleet()
    peers: list[list[float]] = []
    best: tuple[float, dict[str, Any]] = (-math.inf, {})
    made: list[FrozenTrial] = []
    for number in range(trials):
        draw = _Draw(rng, best[1] if number > 12 and rng.random() < 0.7 else {})
        config = suggest(spec, draw)
        state = TrialState.FAIL if rng.random() < failures else None
        trial = _trial(study, config, spec.trial_seed(number), rng, fleet, draw, peers, number, state, artifacts)
        made.append(trial)
        if trial.state == TrialState.COMPLETE:
            peers.append([float(r["mean"]) for r in trial.user_attrs["history"]])
            if trial.value > best[0]:
                best = (trial.value, dict(draw.params))
    add_all(study, made)
    if replicates[0]:
        _replicate(study, spec, rng, fleet, *replicates)
    return study


def add_all(study: optuna.Study, trials: list[FrozenTrial]) -> None:
    """`study.add_trials` without its thousand statements a second, where the storage is a database."""
    storage = study._storage
    engine = storage.store.engine if isinstance(storage, StoreStorage) else None  # some tests need no database
    if engine is None:
        study.add_trials(trials)
        return
    rows: dict[Any, list[dict[str, Any]]] = {}
    number = len(study.get_trials(deepcopy=False))
    with engine.begin() as connection:
        first = (connection.scalar(sa.select(sa.func.max(models.TrialModel.trial_id))) or 0) + 1
        for i, trial in enumerate(trials):
            for model, row in _rows(trial, study._study_id, number + i):
                rows.setdefault(model, []).append({"trial_id": first + i, **row})
        for model, content in rows.items():
            connection.execute(sa.insert(model), content)
        if engine.dialect.name == "postgresql":  # its sequence has not seen the ids given here
            connection.execute(sa.text("SELECT setval('trials_trial_id_seq', (SELECT max(trial_id) FROM trials))"))


def _rows(trial: FrozenTrial, study_id: int, number: int) -> Iterator[tuple[Any, dict[str, Any]]]:
    times = {"datetime_start": trial.datetime_start, "datetime_complete": trial.datetime_complete}
    yield models.TrialModel, {"study_id": study_id, "number": number, "state": trial.state, **times}
    if trial.value is not None:
        yield models.TrialValueModel, {"objective": 0, "value": trial.value, "value_type": "FINITE"}
    for name, value in trial.params.items():
        distribution = trial.distributions[name]
        internal, text = distribution.to_internal_repr(value), distribution_to_json(distribution)
        yield models.TrialParamModel, {"param_name": name, "param_value": internal, "distribution_json": text}
    for step, value in trial.intermediate_values.items():
        row = {"step": step, "intermediate_value": value, "intermediate_value_type": "FINITE"}
        yield models.TrialIntermediateValueModel, row
    for model, attrs in (
        (models.TrialUserAttributeModel, trial.user_attrs),
        (models.TrialSystemAttributeModel, trial.system_attrs),
    ):
        for key, value in attrs.items():
            yield model, {"key": key, "value_json": json.dumps(value)}


class _Fleet:
    """Who is free next, and when."""

    def __init__(self) -> None:
        self.free = [START + timedelta(minutes=7 * i) for i in range(len(WORKERS))]

    def take(self, seconds_on_t4: float) -> tuple[str, str, float, datetime, datetime]:
        slot = int(np.argmin([moment.timestamp() for moment in self.free]))
        name, device, factor = WORKERS[slot]
        start = self.free[slot]
        seconds = seconds_on_t4 * factor
        end = start + timedelta(seconds=seconds)
        self.free[slot] = end + timedelta(seconds=9)
        return name, device, seconds, start, end


def _trial(
    study: optuna.Study,
    config: RunConfig,
    seed: int,
    rng: np.random.Generator,
    fleet: _Fleet,
    draw: _Draw,
    peers: list[list[float]],
    number: int,
    state: TrialState | None,
    artifacts: bool,
    parent: int | None = None,
) -> FrozenTrial:
    history = _history(config, rng)
    prune = None if parent is not None else _pruned_at(history, peers)
    if prune is not None:
        history = history[: prune + 1]
    failed = state == TrialState.FAIL
    if failed:
        history = history[: int(rng.integers(0, 6))]
    factor = config.hidden_size / 64 * config.num_layers * (3 if config.architecture == "gru_attention" else 1)
    worker, device, seconds, start, end = fleet.take(max(len(history), 1) * 1.2 * factor + 4)
    per_epoch = 0.94 * seconds / max(len(history), 1)
    history = [{**r, "train_seconds": round(per_epoch * 0.85, 4), "seconds": round(per_epoch, 4)} for r in history]
    attrs: dict[str, Any] = {
        "seed": seed,
        "configuration": config.active(),
        "key": config.key(),
        "worker": worker,
        "device": device,
        "attempt": 1,
        "epochs": len(history),
        "history": history,
        "seconds": sum(r["seconds"] for r in history),
    }
    if parent is not None:
        attrs["parent"] = parent
    system: dict[str, Any] = {}
    value = None
    if history:
        best = max(range(len(history)), key=lambda i: history[i]["mean"])
        attrs |= {"best_epoch": best, "seconds_per_epoch": per_epoch}
        value = history[best]["mean"]
    if failed:
        attrs["reason"] = [
            f"training loss is nan in epoch {len(history)}: the run diverged; try a smaller lr",
            "out of memory on cuda:0: CUDA out of memory. Tried to allocate 1.20 GiB.",
            "given up: 4 workers vanished while they ran it, the last was spot-1:12",
        ][int(rng.choice(3, p=[0.6, 0.3, 0.1]))]
        state, value = TrialState.FAIL, None
    elif prune is not None:
        attrs["reason"], state = f"pruned at epoch {prune}", TrialState.PRUNED
    else:
        state = TrialState.COMPLETE
        attrs["reason"] = "epochs" if len(history) >= config.epochs else "early_stopping"
        report = value - 0.003 + float(rng.normal(0, NOISE * 0.9))
        at = history[attrs["best_epoch"]]
        attrs |= {"select_t0": at["t0"], "select_t1": at["t1"], "select_mean": value, "parameters": 68866}
        attrs |= {"report_t0": report + 0.07, "report_t1": report - 0.07, "report_mean": report}
        if artifacts:
            system = _artifacts(study, number, history)
    trial = create_trial(
        state=state,
        value=value,
        params=draw.params,
        distributions=draw.distributions,
        user_attrs=attrs,
        system_attrs=system,
        intermediate_values={r["epoch"]: r["mean"] for r in history},
    )
    trial.datetime_start, trial.datetime_complete = start, end
    return trial


def _artifacts(study: optuna.Study, number: int, history: list[dict[str, Any]]) -> dict[str, str]:
    store = artifacts_of(study)
    files = (("csv", "text/csv", history_csv(history)),)
    ids = upload_all(store, [data for _, _, data in files])
    names = [f"{study.study_name}-{number}.{end}" for end, _, _ in files]
    kinds = [kind for _, kind, _ in files]
    return dict(attribute_of(*each) for each in zip(ids, names, kinds, strict=True))


def _history(config: RunConfig, rng: np.random.Generator) -> list[dict[str, Any]]:
    """Rises to the peak that size and learning rate set, then overfits; ends by early stopping."""
    peak = int(np.clip(20 - config.hidden_size / 14 - 4 * (math.log10(config.lr) + 3.2) + rng.normal(0, 2), 3, 29))
    score = true_score(config) + float(rng.normal(0, NOISE))
    gap = 0.07 + float(rng.normal(0, 0.002))
    records: list[dict[str, Any]] = []
    for epoch in range(config.epochs):
        rise = 1 - 0.75 * math.exp(-3.2 * (epoch + 1) / (0.35 * peak + 5))
        mean = score * rise - 0.0009 * max(epoch - peak, 0)
        mean = float(mean + rng.normal(0, 0.0015))
        loss = 1.05 - 0.12 * (1 - math.exp(-epoch / 8)) - 0.004 * epoch
        record = {"epoch": epoch, "loss": loss, "t0": mean + gap, "t1": mean - gap, "mean": mean, "lr": config.lr}
        records.append({k: round(v, 6) if isinstance(v, float) else v for k, v in record.items()} | {"grad_norm": 0.4})
        best = max(range(len(records)), key=lambda i: records[i]["mean"])
        if epoch - best >= config.early_stopping:
            break
    return records


def _pruned_at(history: list[dict[str, Any]], peers: list[list[float]]) -> int | None:
    """The median rule with the study's warm-up and patience."""
    if len(peers) < 8:
        return None
    for epoch in range(8, len(history) - 1):
        others = [peer[epoch] for peer in peers if len(peer) > epoch]
        so_far = [r["mean"] for r in history[: epoch + 1]]
        stalled = max(so_far[-2:]) < max(so_far[:-2])
        if stalled and len(others) >= 4 and max(so_far) < float(np.median(others)):
            return epoch
    return None


def _replicate(
    study: optuna.Study, spec: StudySpec, rng: np.random.Generator, fleet: _Fleet, configurations: int, seeds: int
) -> None:
    target = open_replicates(study)
    chosen = sorted(finished_runs(study), key=lambda run: -run.value)[:configurations]
    numbers = {trial.number: trial for trial in study.get_trials(deepcopy=False)}
    made = []
    for seed in seed_list(spec, seeds):
        for run in chosen:
            source = numbers[run.number]
            draw = _Draw(rng, {}, dict(source.params), dict(source.distributions))
            made.append(
                _trial(target, run.config, seed, rng, fleet, draw, [], len(made), None, False, parent=run.number)
            )
    add_all(target, made)


def main() -> None:
    """`python -m tests.made_study FILE TRIALS`: write one to look at."""
    import sys

    from storage.backends.registry import open_storage

    path = Path(sys.argv[1]).resolve()
    make_study(open_storage(f"sqlite:///{path}"), int(sys.argv[2]), replicates=(6, 4), artifacts=True)


if __name__ == "__main__":
    main()
