"""Scores submissions and compares them: what `score` and Python users call, without printing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lobmodels.bootstrap import REPETITIONS, Comparison
from lobmodels.data import Sequences, load_sequences
from lobmodels.files import writable_folder, write_atomically
from lobmodels.scoring.scoreboard import Tally, compare_tallies, is_saved_score, to_document, to_table
from lobmodels.scoring.submission import Score, score_submission
from search.errors import SearchError

Advance = Callable[[int, int], None]  # told the sequences that are done, and how many there are in all


@dataclass(frozen=True)
class Scored:
    """Scores of submissions, each once, and how they compare on the sequences named `on`; None where nothing was
    resampled. `known`: whether the validation split of one of them is known."""

    scores: tuple[Score, ...]
    comparison: Comparison | None
    on: str
    known: bool

    def document(self) -> dict[str, Any]:
        """Plain values for JSON: one submission's own keys at the top; several in a list."""
        found = {} if self.comparison is None else {"comparison": to_document(self.comparison, self.on)}
        if len(self.scores) == 1:
            return {**self.scores[0].document(), **found}
        return {"submissions": [score.document() for score in self.scores], **found}


def score(
    submissions: Sequence[Path],
    data: Path,
    *,
    sequences: int | None = None,
    bootstrap: int | None = None,
    champion: Path | None = None,
    on: str | None = None,
    seed: int = 0,
    csv: Path | None = None,
    save: Path | None = None,
    progress: Callable[[Path], AbstractContextManager[Advance]] = lambda _: nullcontext(lambda done, total: None),
) -> Scored:
    """Run `submissions` over valid.parquet in `data` (or that file), and compare several by `bootstrap` resamples.

    `champion` is what they are compared with: a zip, or a score that `save` kept; the first where it is None. Raises
    `SearchError` for options that contradict each other, `ScoringError` where a submission breaks a rule or cannot be
    compared, `DataError`, `BundleError` or `OutputError` for files that cannot be read or written.
    """
    _check(submissions, bootstrap, champion, csv, save)
    valid = validation_of(data)
    paths, kept = _contenders(submissions, champion)
    scores = []
    for path in paths:
        with progress(path) as advance:
            scores.append(score_submission(path, valid, sequences, advance))
    tallies = [*(Tally.of(result) for result in scores), *kept]
    if save is not None:
        tallies[0].save(save)
    known = any(tally.split for tally in tallies)
    repetitions = bootstrap if bootstrap is not None else (REPETITIONS if len(tallies) > 1 else 0)
    if not repetitions:
        return Scored(tuple(scores), None, "", known)
    first = paths[0] if champion is None else champion
    comparison, used = compare_tallies(tallies, kept[0].name if kept else str(first), on, repetitions, seed)
    if csv is not None:
        write_atomically(csv, to_table(comparison, used).to_csv(), "csv")
    return Scored(tuple(scores), comparison, used, known)


def validation_of(data: Path) -> Sequences:
    """The sequences of valid.parquet in the folder `data`, or of the file `data`. Raises `DataError`."""
    return load_sequences(data / "valid.parquet" if data.is_dir() else data)


def _check(
    submissions: Sequence[Path], bootstrap: int | None, champion: Path | None, csv: Path | None, save: Path | None
) -> None:
    """Raise `SearchError` for options that contradict each other, `OutputError` where a file cannot be written."""
    if not submissions:
        raise SearchError("score: name at least one submission")
    if csv is not None and len(submissions) == 1 and champion is None and not bootstrap:
        raise SearchError(
            "--csv is the table of a comparison: name several submissions, a --champion or --bootstrap 200"
        )
    if save is not None and len(submissions) != 1:
        raise SearchError(f"--save keeps the score of one submission, not of {len(submissions)}")
    for file, argument in ((csv, "csv"), (save, "save")):
        if file is not None:
            writable_folder(file.parent, argument)  # refuse now, not after minutes of work


def _contenders(submissions: Sequence[Path], champion: Path | None) -> tuple[list[Path], list[Tally]]:
    """Zips to run, each once, and the saved champion if it is one."""
    paths = list(dict.fromkeys(submissions))
    if champion is None or champion in paths:
        return paths, []
    if is_saved_score(champion):
        saved = Tally.load(champion)
        taken = saved.name in map(str, paths)  # a new submission often has the file name of the old one
        return paths, [replace(saved, name=str(champion)) if taken else saved]
    return [*paths, champion], []
