"""The process of one slot: reads its job as JSON from stdin, works, and writes events to the supervisor's pipe.

Started by `search.work.supervisor` as `python -m search.work.slot`. The job holds the database's URL, so it is no
argument: other users of a machine can read those. `search.work.exits` lists the exit codes.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from search.errors import EXPECTED, told
from search.work.events import to_pipe
from search.work.exits import Exit, exit_of
from search.work.options import WorkOptions
from search.work.stopping import Stop

COMMAND = (sys.executable, "-m", "search.work.slot")


@dataclass(frozen=True)
class SlotJob:
    """What a slot works on. `events` is the inherited file descriptor that its events are written to."""

    url: str
    study: str
    data: Path
    options: WorkOptions
    events: int

    def to_json(self) -> dict[str, Any]:
        """Every field as plain JSON."""
        return {**vars(self), "data": str(self.data), "options": self.options.to_json()}

    @staticmethod
    def from_json(document: dict[str, Any]) -> SlotJob:
        """What `to_json` made."""
        options = WorkOptions.from_json(document["options"])
        return SlotJob(**{**document, "data": Path(document["data"]), "options": options})


def run(job: SlotJob) -> None:
    """Work until the job's study, limits or supervisor end it."""
    from search.work.worker import work  # imports torch, which the supervisor does not need

    stop = Stop(job.options.time_limit)
    emit = to_pipe(job.events, lambda: stop.ask("the supervisor has ended"))
    work(job.url, job.study, job.data, options=job.options, stop=stop, emit=emit, end_process=os._exit)


def main() -> int:
    """Run the job on stdin; returns the exit code."""
    try:
        run(SlotJob.from_json(json.load(sys.stdin)))
    except EXPECTED as error:
        print(f"lobtuna: {told(error)}", file=sys.stderr)
        return exit_of(error)
    except Exception:
        traceback.print_exc()
        return Exit.CRASHED
    return Exit.DONE


if __name__ == "__main__":
    sys.exit(main())
