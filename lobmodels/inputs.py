"""Raw columns to network inputs: feature groups appended, then the normaliser. For whole sequences, on any device."""

from __future__ import annotations

import dataclasses
import itertools
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lobmodels.errors import ConfigError, UnknownNameError
from lobmodels.features import GROUPS, NAMES, ROWS
from lobmodels.own_features import DECLARED, OwnFeatures, Settings, names_of
from lobmodels.registry import Registry
from lobmodels.schema import LOB, Schema

# Sequences whose columns are computed at once: on a CPU the float64 temporaries stay near the cache; on a GPU each
# operation is large enough that the host does not keep it waiting.
CHUNK, GPU_CHUNK = 16, 512
STD_FLOOR = 1e-8  # a column that does not vary is divided by 1, not by rounding noise


@dataclass(frozen=True)
class Normalizer:
    """Per-column shift and scale, float64: inputs are `(x - mean) / std`."""

    mean: NDArray[np.float64]  # (F,)
    std: NDArray[np.float64]  # (F,)

    @staticmethod
    def zscore(chunks: Iterator[Tensor]) -> Normalizer:
        """Mean and population standard deviation over all rows of `chunks`, each (F, B, T) in float64.

        Two sums per column in float64; a float32 reduction over ten million rows loses about 1 % of the deviation.
        """
        first = next(chunks)
        shift = first.mean((1, 2))  # sums around a typical value do not cancel
        count, total, squares = 0, torch.zeros_like(shift), torch.zeros_like(shift)
        for columns in itertools.chain([first], chunks):
            centred = columns - shift[:, None, None]
            count += columns[0].numel()
            total += centred.sum((1, 2))
            squares += centred.square_().sum((1, 2))
        mean = total / count
        std = (squares / count - mean.square()).clamp_min(0).sqrt()
        std = torch.where(std < STD_FLOOR, torch.ones_like(std), std)
        return Normalizer((shift + mean).cpu().numpy(), std.cpu().numpy())


NORMALIZERS: Registry[Callable[[Iterator[Tensor]], Normalizer | None]] = Registry("normalizer")
"""Each entry fits shift and scale to the train rows, given in chunks (F, B, T) in float64; None changes nothing."""

NORMALIZERS.register("none")(lambda chunks: None)
NORMALIZERS.register("zscore")(Normalizer.zscore)


class RawSequences(Protocol):
    """Raw sequences that are read a slice at a time."""

    def __len__(self) -> int: ...

    def __getitem__(self, part: slice, /) -> NDArray[np.float32]: ...


class _Row:
    """The columns of one lag as the definitions of `lobmodels.features` index them: by their number in the challenge's
    data, whose place among `columns` is looked up in `places`."""

    def __init__(self, rows: _Rows, k: int) -> None:
        self.rows, self.k = rows, k

    def __getitem__(self, number: int) -> Tensor:
        """That column, (B, T), shifted by k steps with zeros before the first."""
        i, columns = self.rows.place(number), self.rows.columns
        if self.k == 0:
            return columns[i]
        start = self.rows.history - 1 - self.k
        return self.rows.padded(i)[:, start : start + columns.shape[-1]]


class _Rows:
    """Whole sequences, columns (F, B, T), seen through `rows[k]`, k < `history`."""

    def __init__(self, columns: Tensor, history: int, places: tuple[int, ...]) -> None:
        self.columns, self.history, self.places = columns, history, places
        self._padded: dict[int, Tensor] = {}

    def __getitem__(self, k: int) -> _Row:
        if k >= self.history:
            raise IndexError(f"a feature looks {k} steps back, past the {self.history} rows that are kept online")
        return _Row(self, k)

    def place(self, number: int) -> int:
        """Where the challenge's column of this number lies among the columns."""
        if self.places[number] < 0:
            raise IndexError(f"a feature reads {LOB.features[number]}, which the data does not have")
        return self.places[number]

    def padded(self, i: int) -> Tensor:
        """Column i behind `history` - 1 zeros, once: the shifted columns are views of it."""
        if i not in self._padded:
            self._padded[i] = torch.nn.functional.pad(self.columns[i], (self.history - 1, 0))
        return self._padded[i]


def columns_read(group: str) -> tuple[int, ...]:
    """The challenge's columns that a feature group reads, by number: found by computing it once."""
    read: set[int] = set()

    class Recorder:
        def __getitem__(self, i: int) -> float:
            read.add(int(i))
            return 1.0

    class Recorders:
        def __getitem__(self, k: int) -> Recorder:
            return Recorder()

    GROUPS[group](Recorders(), ROWS[group], [0.0] * len(NAMES[group]))
    return tuple(sorted(read))


def missing_columns(group: str, schema: Schema) -> list[str]:
    """The columns that a feature group reads and data of this schema does not have."""
    if group in DECLARED:
        return [name for name in DECLARED[group].reads if name not in schema.features]
    places = schema.places
    return [LOB.features[i] for i in columns_read(group) if places[i] < 0]


def available_groups(schema: Schema) -> tuple[str, ...]:
    """The feature groups whose columns data of this schema has, in the order in which they are appended."""
    return tuple(group for group in GROUPS if not missing_columns(group, schema))


def feature_columns(
    x: Tensor, groups: tuple[str, ...], schema: Schema, own: Mapping[str, OwnFeatures] | None = None
) -> Tensor:
    """Raw rows (B, T, F) to columns with the features of `groups` appended: (F + n, B, T) in float64. `own` holds those
    of them that a plugin defines."""
    raw = x.shape[-1]
    columns = torch.empty(raw + len(names_of(groups)), *x.shape[:2], dtype=torch.float64, device=x.device)
    columns[:raw] = x.permute(2, 0, 1)
    t = torch.arange(x.shape[1], device=x.device)
    j = raw
    for group in groups:
        count = len(names_of((group,)))
        out = columns[j : j + count]
        if own is not None and group in own:
            read = [schema.features.index(name) for name in own[group].columns.reads]
            out.copy_(own[group].whole(columns[read].permute(2, 1, 0)).permute(2, 1, 0))
        else:
            GROUPS[group](_Rows(columns, ROWS[group], schema.places), t, out)
        j += count
    return columns


def append_features(x: Tensor, groups: tuple[str, ...], schema: Schema) -> Tensor:
    """Raw rows (B, T, F) with the features of `groups` appended, in float64: (B, T, F + n)."""
    return feature_columns(x, groups, schema).permute(1, 2, 0)


@dataclass(frozen=True)
class InputPipeline:
    """How raw rows become what a network reads. Fitted on train rows once, then part of the checkpoint.

    Raises `UnknownNameError` for a group that neither `lobmodels.features` nor a plugin defines, `ConfigError` for one
    that reads columns which the data does not have, or gives some that it has.
    """

    groups: tuple[str, ...]
    normalizer: Normalizer | None
    schema: Schema  # of the raw rows
    settings: Settings = ()  # parameters of plugins' groups

    def __post_init__(self) -> None:
        for group in self.groups:
            if group not in GROUPS and group not in DECLARED:
                raise UnknownNameError("feature group", group, (*GROUPS, *DECLARED))
            missing = missing_columns(group, self.schema)
            if missing:
                raise ConfigError(f"{group}=True reads columns that the data does not have: {', '.join(missing)}")

    @property
    def own(self) -> dict[str, OwnFeatures]:
        """The groups that plugins define, built. Raises `ConfigError` where the source of one was not run here."""
        return {group: OwnFeatures(group, self.settings) for group in self.groups if group in DECLARED}

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the network's input columns."""
        return self.schema.features + names_of(self.groups)

    @staticmethod
    def fit(
        features: NDArray[np.float32] | RawSequences,
        groups: tuple[str, ...],
        normalizer: str,
        schema: Schema,
        device: torch.device | str = "cpu",
        lengths: NDArray[np.int64] | None = None,
        settings: Settings = (),
    ) -> InputPipeline:
        """Pipeline for raw `features` (N, T, F), of which the first `lengths` (N,) steps are rows of the data, all
        where it is None. Raises what the constructor does, `UnknownNameError` for a normaliser that is not defined, and
        `ConfigError` for a plugin's feature that is not finite on these rows."""
        unfitted = InputPipeline(groups, None, schema, settings)
        own = unfitted.own
        chunks = _chunks(features, device) if lengths is None else _pieces(features, lengths, device)
        columns: Iterator[Tensor] = (feature_columns(chunk, groups, schema, own) for chunk in chunks)
        if own:
            columns = _finite(columns, unfitted.names)
        fitted = dataclasses.replace(unfitted, normalizer=NORMALIZERS[normalizer](columns))
        for _ in columns if own else ():  # a normaliser that needs no rows has looked at none
            pass
        return fitted

    @property
    def identity(self) -> bool:
        """Whether a network reads the raw columns as they are."""
        return not self.groups and self.normalizer is None

    def __call__(self, x: Tensor) -> Tensor:
        """Raw columns (B, T, columns) to network inputs (B, T, F), float32 on the device of `x`."""
        return self.on(x.device)(x)

    def on(self, device: torch.device) -> Callable[[Tensor], Tensor]:
        """This pipeline for batches on `device`, where its constants are put once: no batch waits for their copy."""
        if self.identity:
            return Tensor.float
        moments: tuple[Tensor, ...] = ()
        if self.normalizer is not None:
            arrays = (self.normalizer.mean, self.normalizer.std)
            moments = tuple(torch.from_numpy(array).to(device)[:, None, None] for array in arrays)

        own = self.own

        def prepare(x: Tensor) -> Tensor:
            columns = feature_columns(x, self.groups, self.schema, own)  # (F, B, T)
            if moments:
                columns.sub_(moments[0]).div_(moments[1])
            return columns.permute(1, 2, 0).float().contiguous()

        return prepare


def chunk_of(device: torch.device | str) -> int:
    """Sequences whose columns are computed at once on `device`."""
    return CHUNK if torch.device(device).type == "cpu" else GPU_CHUNK


def _chunks(features: NDArray[np.float32] | RawSequences, device: torch.device | str) -> Iterator[Tensor]:
    """Raw rows (B, T, F), a few sequences at a time."""
    count = chunk_of(device)
    return (as_tensor(features[i : i + count]).to(device) for i in range(0, len(features), count))


def _finite(chunks: Iterator[Tensor], names: tuple[str, ...]) -> Iterator[Tensor]:
    """The columns (F, B, T) as they are. Raises `ConfigError` where one of them holds what is no finite number."""
    for columns in chunks:
        wrong = ~torch.isfinite(columns)
        if wrong.any():
            j = int(wrong.flatten(1).any(1).nonzero()[0])
            t = int(wrong[j].any(0).nonzero()[0])
            raise ConfigError(
                f"feature {names[j]} of a plugin is not a finite number on the train data, first at step {t} of a "
                "sequence: guard its logarithms and divisions"
            )
        yield columns


def _pieces(
    features: NDArray[np.float32] | RawSequences, lengths: NDArray[np.int64], device: torch.device | str
) -> Iterator[Tensor]:
    """Raw rows (1, T, F) of one sequence at a time, without what is behind its end."""
    return (as_tensor(features[i : i + 1][:, : lengths[i]]).to(device) for i in range(len(features)))


def as_tensor(array: NDArray[Any]) -> Tensor:
    """A tensor over `array` without a copy, read-only memory maps included: nothing here writes to its inputs."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(array)
