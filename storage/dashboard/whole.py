"""What optuna-dashboard would do to a study by halves: deleting one is done whole, renaming one is refused.

It knows neither replicates, which are a study of their own, nor that revisions share checkpoints: deleting a study
would leave the one and remove the other. It renames by copying: the copy has no replicates, workers look for the old
name, and a trial that runs is in the copy as one that nobody runs.
"""

import json
import re
from collections.abc import Callable, Iterable

from storage.dashboard.guard import Application, Environ, StartResponse
from storage.errors import StorageError

STUDY = re.compile(r"/api/studies/(\d+)(/rename)?")
RENAMING = "workers and replicates know a study by its name: create another study instead"


class WholeStudies:
    """WSGI application: `application`, where `delete(study_id)` deletes a study with all that belongs to it."""

    def __init__(self, application: Application, delete: Callable[[int], object]) -> None:
        self._application, self._delete = application, delete

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        method, found = environ["REQUEST_METHOD"], STUDY.fullmatch(environ.get("PATH_INFO", ""))
        if found is not None and found[2] and method == "POST":
            return _refuse(start_response, "403 Forbidden", RENAMING)
        if found is None or found[2] or method != "DELETE":
            return self._application(environ, start_response)
        try:
            self._delete(int(found[1]))
        except KeyError:
            return _refuse(start_response, "404 Not Found", f"there is no study {found[1]}")
        except StorageError as error:
            return _refuse(start_response, "500 Internal Server Error", str(error))
        start_response("204 No Content", [])
        return []


def _refuse(start_response: StartResponse, status: str, reason: str) -> list[bytes]:
    """An answer whose reason the application's script shows."""
    body = json.dumps({"reason": reason}).encode()
    start_response(status, [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]
