"""optuna-dashboard's pages with a way back to our start page and, where nothing may be changed, without what changes.

Its script reads every answer as JSON, also the empty one to a change that succeeded (status 204), and then says that it
failed (seen in 0.21): such an answer gets a body.

optuna-dashboard has no option for reading only: its buttons are there, and what they do fails without a reason. Its
page is one small HTML file that loads a script. We add one stylesheet and two links to that file and leave the script
as it is. Controls are found by the labels and icon names that its own tests use. Should a new version change them, its
buttons are visible again and still refused by the guard; a test in a browser lists every visible control.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from storage.dashboard.guard import READING, START, Application, Environ, Headers, StartResponse, drain

Answer = tuple[str, Headers, bytes]  # status, headers, body
Change = Callable[[str, Headers, bytes], Answer]

PAGES = "/dashboard"
ACCESS = "access"  # id of the start page's paragraph on who may change what
LABELS = ("delete study", "rename study", "delete artifact")
ICONS = ("AddBoxIcon", "EditIcon", "DriveFileRenameOutlineIcon", "DeleteIcon", "UploadFileIcon", "StopCircleIcon")
CHANGING = ", ".join(
    [f'button[aria-label="{label}"]' for label in LABELS] + [f'button:has([data-testid="{icon}"])' for icon in ICONS]
)
# A card that holds nothing but the place to drop a file on.
DROP = '.MuiCard-root:has(> button > * > [data-testid="UploadFileIcon"])'
BAR = """
#lobtuna{position:fixed;z-index:1300;top:0;right:0;height:64px;padding:0 16px;display:flex;gap:14px;align-items:center;
font:14px/1.3 Roboto,system-ui,Arial,sans-serif}
#lobtuna a{color:#fff;text-underline-offset:3px;background:#000000b3;border-radius:4px;padding:5px 9px}
@media(max-width:600px){#lobtuna{top:auto;bottom:8px;height:auto;padding:0 8px}}
"""
DROPPED = frozenset({"content-length", "last-modified", "etag", "accept-ranges"})
REFUSED = 'button[aria-label="rename study"]{display:none!important}'  # also where the rest may be changed
HIDDEN = f"{CHANGING}, {DROP} {{display:none!important}}"


class AdaptedDashboard:
    """WSGI application: `application`, whose pages (not its script, data or files) carry our links and stylesheet."""

    def __init__(self, application: Application, writable: bool) -> None:
        self._application = application
        style = f"{BAR}{REFUSED if writable else HIDDEN}"
        self._head = f"<style>{style}</style></head>".encode()
        self._bar = _bar(writable).encode()

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        path, method = environ.get("PATH_INFO", ""), environ["REQUEST_METHOD"]
        if method == "GET" and (path == PAGES or path.startswith(f"{PAGES}/")):
            for name in ("HTTP_IF_MODIFIED_SINCE", "HTTP_IF_NONE_MATCH", "HTTP_RANGE"):
                environ.pop(name, None)  # what a browser has may be the page of another version of ours
            return self._changed(environ, start_response, self._page)
        if method not in READING and path.startswith("/api/"):
            return self._changed(environ, start_response, _with_body)
        return self._application(environ, start_response)

    def _changed(self, environ: Environ, start_response: StartResponse, change: Change) -> Iterable[bytes]:
        """The application's answer, changed."""
        answer: dict[str, Any] = {}

        def remember(status: str, headers: Headers, exc_info: Any = None) -> Callable[[bytes], None]:
            answer.update(status=status, headers=headers, exc_info=exc_info)
            return lambda _data: None

        given = drain(self._application(environ, remember))
        status, headers, body = change(answer["status"], answer["headers"], given)
        headers = [item for item in headers if item[0].lower() not in DROPPED]
        headers += [("Content-Length", str(len(body))), ("Cache-Control", "no-store")]
        start_response(status, headers, answer["exc_info"])
        return [body]

    def _page(self, status: str, headers: Headers, page: bytes) -> Answer:
        page = page.replace(b"</head>", self._head, 1).replace(b"</body>", self._bar + b"</body>", 1)
        return status, headers, page


def _with_body(status: str, headers: Headers, body: bytes) -> Answer:
    """ "No content" as an empty JSON document; every other answer as it is."""
    return (
        ("200 OK", [("Content-Type", "application/json")], b"{}")
        if status.startswith("204")
        else (status, headers, body)
    )


def _bar(writable: bool) -> str:
    access = "" if writable else f'<a href="{START}#{ACCESS}">read-only</a>'
    return f'<nav id="lobtuna" aria-label="lobtuna"><a href="{START}">start page</a>{access}</nav>'
