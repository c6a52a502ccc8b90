"""What `lobtuna create --dry-run` shows: configurations of the space, and how long the budget would take here."""

from __future__ import annotations

from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Any

from search.cli.common import print_json, stderr, stdout

if TYPE_CHECKING:
    from lobmodels.config import RunConfig
    from search.studyfile.spec import StudySpec


def show_preview(spec: StudySpec, data: Path | None, json: bool, budget: str) -> None:
    """Print `budget` and three drawn configurations; with `data`, train one epoch of each and estimate the whole."""
    from search.study.preview import sample_configurations
    from search.work.estimate import study_hours

    configs = sample_configurations(spec)
    seconds = _time(spec, configs, data)
    hours = None if seconds is None else study_hours(spec, configs, seconds)
    if json:
        rows = [_searched(spec, config) for config in configs]
        print_json({"study": spec.name, "configurations": rows, "epoch_seconds": seconds, "hours": hours})
        return
    stdout.print(f"{spec.name} would search {len(spec.searched())} parameters; budget {budget}", markup=False)
    for number, config in enumerate(configs, 1):
        values = [f"{name}={_brief(value)}" for name, value in _searched(spec, config).items()]
        took = [] if seconds is None else [f"{seconds[number - 1]:.1f} s an epoch, {config.epochs} epochs"]
        line = fill(", ".join(values + took), stdout.width, initial_indent=f"  {number}. ", subsequent_indent="     ")
        stdout.print(line, markup=False, soft_wrap=True)
    stdout.print(_estimate(spec, hours, seconds), markup=False)


def _time(spec: StudySpec, configs: list[RunConfig], data: Path | None) -> list[float] | None:
    if data is None:
        return None
    from lobmodels.data import load_dataset
    from search.work.estimate import epoch_seconds

    dataset = load_dataset(data)
    taken = []
    for number, config in enumerate(configs, 1):
        stderr.print(f"an epoch of configuration {number} of {len(configs)}", style="dim")
        taken.append(epoch_seconds(spec, config, dataset))
    return taken


def _estimate(spec: StudySpec, hours: float | None, seconds: list[float] | None) -> str:
    if seconds is None:
        return "nothing was created; with --data DIR this also estimates the time"
    if hours is None:
        return "nothing was created; the budget counts no trials, so that there is no whole to estimate"
    whole = f"one slot of this machine would take {_duration(hours)} for {spec.budget.trials} full runs"
    less = "less where runs are pruned or stop early"
    if spec.budget.hours is not None and spec.budget.hours < hours:
        share = round((spec.budget.trials or 0) * spec.budget.hours / hours)
        less = f"and the {spec.budget.hours:g} hours of the budget are enough for about {share}; {less}"
    return f"nothing was created; {whole}, {less}"


def _duration(hours: float) -> str:
    return f"{hours:.1f} hours" if hours >= 1 else f"{max(1, round(60 * hours))} min"


def _searched(spec: StudySpec, config: RunConfig) -> dict[str, Any]:
    """The searched parameters that mean something in this configuration."""
    active = config.active()
    return {name: active[name] for name in spec.searched() if name in active}


def _brief(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
