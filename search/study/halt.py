"""Asks all workers of a study to hand their trials back: a token in the study that differs from the one they know.

A worker remembers the token it finds when it begins; another token later is a request to stop. So a stop applies to the
workers that run at that moment, without comparing the clocks of two machines, and `lobtuna work` goes on afterwards.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import optuna

from search.study.record import STOP

COMMAND = "lobtuna stop"


@dataclass(frozen=True)
class StopRequest:
    """A request to stop. With `now`, workers leave the epoch they are in; otherwise they end it first."""

    by: str  # who asked, as HOST
    now: bool = False
    token: str = field(default_factory=lambda: uuid.uuid4().hex)

    def words(self) -> str:
        """The reason that a stopped worker gives."""
        return f"{COMMAND}{' --now' if self.now else ''} on {self.by}"


def is_request(reason: str) -> bool:
    """Whether a worker that stopped for this reason was stopped by a request."""
    return reason.startswith(COMMAND)


def request_stop(study: optuna.Study, request: StopRequest) -> None:
    """Store the request; every worker reads it within about half a minute."""
    study.set_user_attr(STOP, asdict(request))


def stop_of(attributes: Mapping[str, Any]) -> StopRequest | None:
    """The last request among a study's user attributes; None where there is none, or none that can be read."""
    stored = attributes.get(STOP)
    if not isinstance(stored, dict) or not isinstance(stored.get("token"), str):
        return None
    return StopRequest(str(stored.get("by", "?")), stored.get("now") is True, stored["token"])
