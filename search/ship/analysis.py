"""What `ensemble` does: a study's runs, their predictions on validation, the analysis, and its files."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

from lobmodels.ensemble import scale
from lobmodels.ensemble.analysis import Analysis, analyse
from lobmodels.files import writable_folder, write_atomically
from search.ship.figures import write_plots
from search.ship.members import Choice, candidates, choose, load_members, open_pool
from search.ship.validation import validate
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
    parts = {"select": known.select, "report": known.report}
    names, stds = [member.name for member in chosen], scale.spreads(known.members)
    targets = known.schema.targets
    analysis = analyse(names, known.predictions, known.targets, parts, on, target_names=targets, stds=stds)
    return analysis, write(analysis, output)


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
