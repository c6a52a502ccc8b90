"""What `ensemble` does: a study's runs, their predictions on validation, the analysis, and its files."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lobmodels.ensemble import blend, scale
from lobmodels.ensemble.analysis import Analysis, analyse
from lobmodels.ensemble.out_of_fold import out_of_fold
from lobmodels.files import writable_folder, write_atomically
from search.ship.figures import write_plots
from search.ship.members import Choice, candidates, choose, load_members, open_pool
from search.ship.validation import Validation, validate
from search.study.plugins import require_code

DEFAULT_TOP = 20


def analyse_pool(
    url: str,
    name: str,
    data: Path,
    output: Path,
    top: int | None = None,
    members: tuple[str, ...] = (),
    per_config: int | None = None,
    on: str | None = None,
    progress: Callable[[int, int], None] | None = None,
    plugins: Sequence[Path] = (),
    trust_plugins: bool = False,
) -> tuple[Analysis, list[Path]]:
    """Analyse runs of study `name` and write the files into `output`; returns the analysis and the files.

    In a study with folds the models are configurations, each named by its first run: a run alone has held out other
    sequences than the next.

    Raises `SearchError` where runs are missing, `BundleError` for other data, `OutputError` for a folder that
    cannot be written.
    """
    study = open_pool(url, name)
    require_code(study, plugins, trust_plugins)
    if top is None and per_config is None and not members:
        top = min(DEFAULT_TOP, len(candidates(study)))
    chosen = load_members(study, choose(study, Choice(top, per_config, members)))
    writable_folder(output)  # refuse now, not after minutes of work
    known = validate(chosen, data, progress)
    blend.require_fittable("the analysis of an ensemble", known.schema)
    models = _configurations(known) if known.folds else _runs(known)
    names, parts = list(models.runs), {"select": models.select, "report": models.report}
    targets = known.schema.targets
    found = analyse(names, models.predictions, models.targets, parts, on, target_names=targets, stds=models.stds)
    analysis = dataclasses.replace(found, optimal_weights=_of_runs(found.optimal_weights, models.runs))
    return analysis, write(analysis, output)


@dataclass(frozen=True)
class _Models:
    """What is analysed: K models, the runs of each, and their predictions on N sequences."""

    runs: dict[str, list[str]]  # by the model's name, which is that of its first run
    predictions: list[NDArray[np.float32]]  # K arrays (N, S, targets)
    targets: NDArray[np.float32]
    select: NDArray[np.int64]
    report: NDArray[np.int64]
    stds: NDArray[np.float64] | None  # (K, targets) of the predictions; None where they are on one scale already


def _runs(known: Validation) -> _Models:
    """Each run by itself, on the validation sequences."""
    runs = {member.name: [member.name] for member in known.members}
    stds = scale.spreads(known.members)
    return _Models(runs, known.predictions, known.targets, known.select, known.report, stds)


def _configurations(known: Validation) -> _Models:
    """Each configuration of a study with folds, on sequences that its runs held out, and on the report sequences."""
    found = out_of_fold(known.members, known.dataset())
    factors = scale.factors(scale.spreads(known.members), blend.uniform(len(known.members), len(known.schema.targets)))
    runs, predictions = {}, []
    for places, held in zip(found.groups, found.predictions, strict=True):
        names = [known.members[k].name for k in places]
        runs[names[0]] = names
        report = np.mean([known.predictions[k][known.report] * factors[k] for k in places], axis=0)
        predictions.append(np.concatenate([held, report.astype(np.float32)]))
    targets = np.concatenate([found.targets, known.targets[known.report]])
    select = np.arange(len(found.index))
    return _Models(runs, predictions, targets, select, len(select) + np.arange(len(known.report)), None)


def _of_runs(weights: dict[str, Any], runs: dict[str, list[str]]) -> dict[str, Any]:
    """The document of weights, with each model's weight shared by its runs, as `export --weights FILE` reads it."""
    variants = {}
    for name, variant in weights["variants"].items():
        shared = {
            run: [value / len(runs[model]) for value in values]
            for model, values in variant["weights"].items()
            for run in runs[model]
        }
        variants[name] = {**variant, "weights": shared}
    return {**weights, "variants": variants}


def write(analysis: Analysis, output: Path) -> list[Path]:
    """Write tables as CSV, weights as JSON, figures as HTML, and the runs and sequences as JSON; returns the files.

    Raises `OutputError` where the folder cannot be written.
    """
    about = {
        "models": list(analysis.names),
        "scores_on": analysis.on,
        "sequences": analysis.counts,
        "members_ordered_by": "select",
    }
    texts = {f"{name}.csv": table.to_csv() for name, table in analysis.tables().items()}
    texts["optimal_weights.json"] = json.dumps(analysis.optimal_weights, indent=2, allow_nan=False) + "\n"
    texts["analysis.json"] = json.dumps(about, indent=2) + "\n"
    files = [output / name for name in texts]
    for path, text in zip(files, texts.values(), strict=True):
        write_atomically(path, text)
    return files + write_plots(analysis, output)
