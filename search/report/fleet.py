"""Use of the workers: how busy each was, and how fast its device is on comparable networks."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np

from search.report.page import Figure, PageTable, Section
from search.report.record import Study, Trial
from search.report.style import STATE, Spec, axis, figure, line, named, plural, share

SHOWN = 30  # most workers in the figure
LEAST = 8  # runs needed to compare the speed of devices
OUTAGE = timedelta(minutes=20)  # a pause after which a worker counts as away, not as idle


@dataclass(frozen=True)
class WorkerUse:
    """One worker's part. Hours are wall-clock; `busy` is the share of its presence that trials took."""

    worker: str
    device: str
    trials: int
    busy_hours: float
    present_hours: float
    first: datetime
    last: datetime
    seconds_per_epoch: float | None  # median over its trials

    @property
    def busy(self) -> float:
        return self.busy_hours / self.present_hours if self.present_hours > 0 else 1.0


def workers(trials: Sequence[Trial]) -> list[WorkerUse]:
    """Each worker's use, the one with most hours first."""
    by_worker: dict[str, list[Trial]] = {}
    for trial in trials:
        if trial.worker and trial.start and trial.end and trial.imported is None:
            by_worker.setdefault(trial.worker, []).append(trial)
    found = [_use(worker, sorted(own, key=lambda t: t.start or datetime.min)) for worker, own in by_worker.items()]
    return sorted(found, key=lambda use: -use.busy_hours)


def _use(worker: str, own: Sequence[Trial]) -> WorkerUse:
    spans = [(t.start, t.end) for t in own if t.start and t.end]
    busy = sum((end - start for start, end in spans), timedelta())
    gaps = [start - before for (_, before), (start, _) in itertools.pairwise(spans) if start > before]
    present = busy + sum((gap for gap in gaps if gap < OUTAGE), timedelta())
    speeds = [t.seconds_per_epoch for t in own if t.seconds_per_epoch]
    return WorkerUse(
        worker=worker,
        device=own[-1].device,
        trials=len(own),
        busy_hours=busy.total_seconds() / 3600,
        present_hours=present.total_seconds() / 3600,
        first=spans[0][0],
        last=max(end for _, end in spans),
        seconds_per_epoch=float(np.median(speeds)) if speeds else None,
    )


def speeds(trials: Sequence[Trial]) -> dict[str, float]:
    """Speed of each device relative to the slowest, on comparable networks; empty where they cannot be compared.

    Least squares of log seconds per epoch on the device and on what a network costs: architecture, log of the hidden
    size and of the number of layers.
    """
    runs = [t for t in trials if t.seconds_per_epoch and t.device and t.imported is None]
    devices = sorted({t.device for t in runs})
    if len(devices) < 2 or min(sum(t.device == d for t in runs) for d in devices) < LEAST:
        return {}
    kinds = sorted({str(t.configuration.get("architecture", "")) for t in runs})
    rows = [
        [float(t.device == device) for device in devices]
        + [float(str(t.configuration.get("architecture", "")) == kind) for kind in kinds[1:]]
        + [_log(t.configuration.get(name)) for name in ("hidden_size", "num_layers")]
        for t in runs
    ]
    y = np.log([float(t.seconds_per_epoch or 1.0) for t in runs])
    coefficients, *_ = np.linalg.lstsq(np.array(rows), y, rcond=None)
    cost = dict(zip(devices, coefficients, strict=False))
    slowest = max(cost.values())
    return {device: float(np.exp(slowest - value)) for device, value in cost.items()}


def _log(value: Any) -> float:
    return float(np.log(value)) if isinstance(value, (int, float)) and value > 0 else 0.0


def section(study: Study) -> Section:
    """When each worker was at work, and how fast."""
    title = "Workers"
    trials = [*study.trials, *study.replicates]
    found = workers(trials)
    if not found:
        return Section("workers", title, "No trial that has ended names its worker.")
    text = (
        f"{plural(len(found), 'worker')} on {plural(len({use.device for use in found}), 'kind')} of device. A pause of "
        f"more than {OUTAGE.seconds // 60} minutes counts as absence, a shorter one as idling."
    )
    rows = [
        [
            use.worker,
            use.device,
            use.trials,
            use.busy_hours,
            share(use.busy),
            use.trials / use.present_hours if use.present_hours > 0 else None,
            use.seconds_per_epoch,
        ]
        for use in found
    ]
    columns = ["worker", "device", "trials", "hours", "busy", "trials an hour", "s/epoch"]
    shown = [use.worker for use in found[:SHOWN]]
    more = f" The {SHOWN} busiest of {len(found)} workers." if len(found) > SHOWN else ""
    caption = f"One line a worker, one bar a trial, coloured by how it ended; times in UTC.{more}"
    figures = [Figure(caption, _timeline(trials, shown), title="When they worked")]
    rate = speeds(trials)
    if rate:
        words = ", ".join(f"{device} {value:.2f}" for device, value in sorted(rate.items(), key=lambda item: item[1]))
        text += f" Speed on comparable networks, relative to the slowest device: {words}."
    idle = sum(use.present_hours - use.busy_hours for use in found)
    present = sum(use.present_hours for use in found)
    finding = ""
    if present > 0 and idle / present > 0.1:
        finding = (
            f"Workers were idle for {share(idle / present)} of the time they were there: find out what they waited for."
        )
    table = PageTable("workers", columns, rows, "What each worker did", 15)
    return Section("workers", title, text, figures, [table], finding)


def _timeline(trials: Sequence[Trial], shown: Sequence[str]) -> Spec:
    names = {worker: named(worker) for worker in shown}
    traces = []
    for state in ("complete", "pruned", "failed"):
        x: list[Any] = []
        y: list[Any] = []
        for t in trials:
            if t.state == state and t.worker in names and t.start and t.end:
                x += [t.start.isoformat(timespec="seconds"), t.end.isoformat(timespec="seconds"), None]
                y += [names[t.worker], names[t.worker], None]
        if x:
            traces.append(line(x, y, state, STATE[state], line={"width": 9}, hoverinfo="skip"))
    return figure(
        traces,
        height=110 + 26 * len(shown),
        x=axis("", type="date"),
        y=axis("", type="category", range=[len(shown) - 0.4, -0.6], ticks="", categoryarray=list(names.values())),
    )
