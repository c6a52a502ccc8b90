"""Compares scored submissions with a champion: what is saved of a score, and when two can be compared."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lobmodels.bootstrap import FEW, INTERVAL, REPETITIONS, Comparison, Row, compare, sequence_statistics
from lobmodels.errors import Remedy, ScoringError
from lobmodels.files import write_atomically
from lobmodels.schema import LOB, Schema
from lobmodels.scoring.submission import Score
from lobmodels.table import Table

FORMAT = 1
ON = ("report", "all", "select")


@dataclass(frozen=True)
class Tally:
    """What a comparison needs of one scored submission: six sums per sequence and target, and which data it was."""

    name: str
    statistics: NDArray[np.float64]  # (N, 6, K)
    fingerprint: str
    split: dict[str, NDArray[np.int64]]  # `select` and `report` sequences, where known
    schema: Schema = LOB  # a file states it where it is not the challenge's

    @staticmethod
    def of(score: Score) -> Tally:
        """The tally of a score."""
        statistics = sequence_statistics(score.predictions, score.targets, score.schema)
        return Tally(str(score.path), statistics, score.fingerprint, score.split, score.schema)

    def save(self, path: Path) -> None:
        """Save it in a small file, so that a champion need not be run again. Raises `OutputError`."""
        arrays: dict[str, Any] = {
            "format": np.array(FORMAT),
            "name": np.array(self.name),
            "fingerprint": np.array(self.fingerprint),
            "statistics": self.statistics,
            **{f"split.{name}": index for name, index in self.split.items()},
        }
        if not self.schema.is_challenge:
            arrays["schema"] = np.array(json.dumps(self.schema.document()))
        buffer = io.BytesIO()
        np.savez(buffer, **arrays)
        write_atomically(path, buffer.getvalue(), "save")

    @staticmethod
    def load(path: Path) -> Tally:
        """Read a file of `save`. Raises `ScoringError` for anything else."""
        try:
            with np.load(path) as file:
                if int(file["format"]) != FORMAT:
                    raise ValueError(f"format {file['format']}")
                split = {name[6:]: file[name] for name in file.files if name.startswith("split.")}
                schema = Schema.of(json.loads(str(file["schema"])) if "schema" in file.files else None)
                return Tally(str(file["name"]), file["statistics"], str(file["fingerprint"]), split, schema)
        except FileNotFoundError:
            raise ScoringError(f"{path}: no such file", remedy=Remedy.SAVE_SCORE, subject=str(path)) from None
        except (OSError, ValueError, KeyError, TypeError, EOFError):
            message = f"{path} is no saved score of this version"
            raise ScoringError(message, remedy=Remedy.SAVE_SCORE, subject=str(path)) from None


def is_saved_score(path: Path) -> bool:
    """Whether `path` looks like a file of `Tally.save` rather than a submission."""
    return path.suffix != ".zip"


def compare_tallies(
    tallies: Sequence[Tally],
    champion: str,
    on: str | None = None,
    repetitions: int = REPETITIONS,
    seed: int = 0,
) -> tuple[Comparison, str]:
    """Bootstrap all `tallies` against `champion`, on the sequences named `on`, which is returned with the comparison.

    Without `on`, report sequences where all submissions know the same ones, else all. Raises `ScoringError` where
    they were scored on different data, or a part is not known.
    """
    first = tallies[0]
    for tally in tallies[1:]:
        if tally.fingerprint != first.fingerprint:
            raise ScoringError(
                f"{tally.name} was scored on other data ({tally.fingerprint[:12]}) than {first.name} "
                f"({first.fingerprint[:12]}); score both on the same file"
            )
        if len(tally.statistics) != len(first.statistics):
            raise ScoringError(
                f"{tally.name} was scored on {len(tally.statistics)} sequences, {first.name} on "
                f"{len(first.statistics)}; score both on all of the file"
            )
    common = _common_split(tallies)
    on = on or ("report" if len(common.get("report", ())) else "all")
    if on not in ON:
        raise ScoringError(f"on={on}: choose from {', '.join(ON)}", arguments=["on"])
    if on != "all" and not len(common.get(on, ())):
        message = f"on={on}: these submissions do not share a known validation split; use on=all"
        raise ScoringError(message, arguments=["on"])
    index = np.arange(len(first.statistics)) if on == "all" else common[on]
    statistics = {tally.name: tally.statistics[index] for tally in tallies}
    return compare(statistics, champion, repetitions, seed, first.schema), on


def _common_split(tallies: Sequence[Tally]) -> dict[str, NDArray[np.int64]]:
    """The split that all share; empty where there is none. A submission without a known split, such as one that
    lobtuna did not write, is taken to share any split."""
    known = [tally.split for tally in tallies if tally.split]
    if not known or any(not np.array_equal(split["report"], known[0]["report"]) for split in known):
        return {}
    return known[0]


def to_table(comparison: Comparison, on: str) -> Table:
    """One row a submission; `on` names the sequences."""
    about = (comparison.sequences, on, comparison.repetitions)
    plain = [_plain(row, comparison.targets) for row in comparison.rows]
    rows = [(*values.values(), values["name"] == comparison.champion, *about) for values in plain]
    columns = ("submission", *list(plain[0])[1:], "champion", "sequences", "on", "repetitions")
    return Table("comparison", columns, rows)


def _plain(row: Row, targets: tuple[str, ...]) -> dict[str, Any]:
    """A row's values by name, the score of each target under the target's name."""
    values = dict(vars(row))
    scores = dict(zip(targets, values.pop("scores"), strict=True))
    return {"name": values.pop("name"), **scores, **values}


def to_document(comparison: Comparison, on: str) -> dict[str, Any]:
    """Plain values for JSON; no safe and no bold choice where the sequences are too few for one."""
    enough = comparison.sequences >= FEW
    return {
        "champion": comparison.champion,
        "on": on,
        "sequences": comparison.sequences,
        "repetitions": comparison.repetitions,
        "interval": INTERVAL,
        "rows": [_plain(row, comparison.targets) for row in comparison.rows],
        "safe": comparison.safe.name if enough else None,
        "bold": comparison.bold.name if enough else None,
    }
