"""The simulator: same seed same data, and a signal of the strength, shape and shift that it promises."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from lobmodels.data import load_dataset
from lobmodels.data.synthetic import CHUNK, Simulated, simulate, write_dataset
from lobmodels.distributions import ks_distance
from lobmodels.errors import DataError, OutputError
from lobmodels.metric import weighted_pearson
from lobmodels.profile.audit import audit_file
from lobmodels.schema import LOB

WARMUP = LOB.warmup_steps


@pytest.fixture(scope="module")
def train() -> Simulated:
    """128 sequences of the market's early days."""
    rng = np.random.default_rng(1)
    return simulate(rng, 128, rng.uniform(0, 1, 128).astype(np.float32))


@pytest.fixture(scope="module")
def valid() -> Simulated:
    """64 sequences of later days."""
    rng = np.random.default_rng(2)
    return simulate(rng, 64, rng.uniform(1.2, 1.8, 64).astype(np.float32))


def lag_1(y: np.ndarray) -> np.ndarray:
    centred = y - y.mean((0, 1))
    return (centred[:, 1:] * centred[:, :-1]).mean((0, 1)) / centred.var((0, 1))


def test_signal_strength_is_known(train: Simulated, valid: Simulated) -> None:
    """Who sees the hidden pressures scores about .62 on t0 and .39 on t1: the ceiling, t0 clearly easier."""
    scores = np.mean(
        [weighted_pearson(part.expected[:, WARMUP:], part.targets[:, WARMUP:]) for part in (train, valid)], axis=0
    )
    assert scores[0] == pytest.approx(0.62, abs=0.05)
    assert scores[1] == pytest.approx(0.39, abs=0.1)


def test_ridge_and_gru_learn_it(train: Simulated, valid: Simulated) -> None:
    """A ridge on one row reaches about .43 and .25; a small GRU on 96 sequences comes near in a few epochs."""
    x, y = train.features[:, WARMUP:].reshape(-1, 32), train.targets[:, WARMUP:].reshape(-1, 2)
    mean, std = x.mean(0), x.std(0)
    z = (x - mean) / std
    beta = np.linalg.solve(z.T @ z + 100 * np.eye(32), z.T @ y)
    ridge = weighted_pearson((valid.features[:, WARMUP:] - mean) / std @ beta, valid.targets[:, WARMUP:])
    assert ridge[0] == pytest.approx(0.43, abs=0.05) and ridge[1] == pytest.approx(0.25, abs=0.09)
    assert ridge[0] > ridge[1] + 0.08
    gru = _gru_score(train, valid, epochs=3)
    assert gru[0] > 0.36 and gru[1] > 0.12


def _gru_score(train: Simulated, valid: Simulated, epochs: int) -> np.ndarray:
    torch.manual_seed(0)
    gru, head = torch.nn.GRU(32, 24), torch.nn.Linear(24, 2)
    parameters = [*gru.parameters(), *head.parameters()]
    optimizer = torch.optim.AdamW(parameters, 1e-2)
    x, y = (torch.from_numpy(part).transpose(0, 1) for part in (train.features[:96], train.targets[:96]))
    for _ in range(epochs):
        for batch in torch.randperm(x.shape[1]).split(16):
            loss = (head(gru(x[:, batch])[0])[WARMUP:] - y[WARMUP:, batch].clamp(-6, 6)).square().mean()
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
    with torch.no_grad():
        prediction = head(gru(torch.from_numpy(valid.features).transpose(0, 1))[0])[WARMUP:]
    return weighted_pearson(prediction.transpose(0, 1).numpy(), valid.targets[:, WARMUP:])


def test_targets_look_like_the_challenges(train: Simulated) -> None:
    """Autocorrelated (about .75 and .98), correlated with each other (about .47), heavy-tailed and clustered."""
    y = train.targets
    autocorrelation = lag_1(y)
    assert autocorrelation[0] == pytest.approx(0.75, abs=0.04)
    assert autocorrelation[1] == pytest.approx(0.978, abs=0.006)
    assert np.corrcoef(y.reshape(-1, 2).T)[0, 1] == pytest.approx(0.47, abs=0.04)
    centred = y - y.mean((0, 1))
    assert ((centred**4).mean((0, 1)) / centred.var((0, 1)) ** 2 > 8).all()  # a normal distribution has 3
    size = np.sort(np.abs(y.reshape(-1, 2)), axis=0)
    share = size[int(len(size) * 0.8) :].sum(0) / size.sum(0)
    assert ((share > 0.5) & (share < 0.62)).all()
    large = np.abs(y) > np.quantile(np.abs(y.reshape(-1, 2)), 0.95, axis=0)
    assert ((large[:, 1:] & large[:, :-1]).mean((0, 1)) / large.mean((0, 1)) ** 2 > 8).all()


def test_features_are_scaled_and_signed(train: Simulated) -> None:
    """Within about ±5.2, no column constant, asks above bids level by level, volumes of both signs."""
    x = train.features
    assert np.abs(x).max() <= 5.21
    assert (x.reshape(-1, 32).std(0) > 0.2).all()
    assert (x[..., 6:12] >= x[..., :6]).all()
    assert (x[..., 12:24].min((0, 1)) < -1).all() and (x[..., 12:24].max((0, 1)) > 1).all()


def test_valid_is_shifted(train: Simulated, valid: Simulated) -> None:
    """Prices move by a KS distance of about .3, as in the challenge; volumes less, trades least."""
    ks = [ks_distance(train.features[..., j].ravel(), valid.features[..., j].ravel()) for j in range(32)]
    assert 0.2 < np.mean(ks[:12]) < 0.45
    assert 0.02 < np.mean(ks[12:24]) < 0.2


def test_features_do_not_see_ahead() -> None:
    """Shocks after step t change nothing before t: the signal is not leaked through the reference or the trades."""
    first = simulate(_Perturbed(3, after=None), 4, np.full(4, 0.5, np.float32))
    other = simulate(_Perturbed(3, after=700), 4, np.full(4, 0.5, np.float32))
    np.testing.assert_array_equal(first.features[:, :630], other.features[:, :630])
    assert not np.array_equal(first.features[:, 650:], other.features[:, 650:])


class _Perturbed(np.random.Generator):
    """A generator whose arrays over time are drawn anew after a step of the simulated path."""

    def __init__(self, seed: int, after: int | None) -> None:
        super().__init__(np.random.PCG64(seed))
        self.after = after

    def _redrawn(self, draw: np.ndarray) -> np.ndarray:
        if self.after is not None and draw.ndim >= 2:
            draw[self.after :] = draw[self.after :][::-1].copy()
        return draw

    def standard_normal(self, *args, **kwargs):  # type: ignore[no-untyped-def,override]
        return self._redrawn(super().standard_normal(*args, **kwargs))

    def random(self, *args, **kwargs):  # type: ignore[no-untyped-def,override]
        return self._redrawn(super().random(*args, **kwargs))


def test_same_seed_same_files(tmp_path: Path) -> None:
    """The same arguments write the same data; another seed, other data; a longer set begins with the shorter one's."""
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        write_dataset(tmp_path / name, train=4, valid=2, seed=seed)
    a, b, c = (load_dataset(tmp_path / name) for name in "abc")
    assert a.fingerprint == b.fingerprint
    assert a.fingerprint != c.fingerprint
    assert not np.array_equal(a.train.features[:2], a.valid.features)


def test_files_keep_the_format_over_chunks(tmp_path: Path) -> None:
    """More sequences than one chunk holds still make one valid file with distinct, shuffled ids."""
    told: list[int] = []
    write_dataset(tmp_path, train=CHUNK + 3, valid=1, progress=told.append)
    audit = audit_file(tmp_path / "train.parquet")
    assert (audit.problems, audit.sequences, audit.repeated) == ([], CHUNK + 3, 0)
    assert told == [CHUNK, 3, 1]
    data = load_dataset(tmp_path)
    assert sorted(data.train.seq_ix) == list(range(CHUNK + 3)) and data.valid.seq_ix[0] == CHUNK + 3
    assert list(data.train.seq_ix) != sorted(data.train.seq_ix)


def test_refusals(tmp_path: Path) -> None:
    """No sequences, a negative seed, data that is there already or a folder that cannot be: refused, nothing lost."""
    for arguments in ({"train": 0, "valid": 1}, {"train": 1, "valid": -2}, {"train": 1, "valid": 1, "seed": -1}):
        with pytest.raises(DataError):
            write_dataset(tmp_path, **arguments)
    (tmp_path / "valid.parquet").write_text("mine")
    with pytest.raises(DataError, match="exists already"):
        write_dataset(tmp_path, 1, 1)
    assert (tmp_path / "valid.parquet").read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["valid.parquet"]
    write_dataset(tmp_path, 1, 1, overwrite=True)
    with pytest.raises(OutputError, match="cannot be written"):
        write_dataset(tmp_path / "valid.parquet" / "below", 1, 1)
