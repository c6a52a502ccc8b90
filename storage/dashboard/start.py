"""The dashboard's start page: every study with its first lines and a link, in a page that keeps itself up to date.

What is known about a study comes from the caller, as text; this module turns it into HTML and serves it at `/`. The
page's script asks for the same page again and exchanges its `main`; without scripts the browser loads the page anew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from html import escape

from storage.dashboard.adapted import ACCESS
from storage.dashboard.guard import START, START_SCRIPT, Application, Environ, StartResponse
from storage.errors import StorageError

PERIOD = 10  # seconds between two looks of an open page
COLUMNS = ("", "selection", "report", "")
STYLE = """
:root{color-scheme:light;--ink:#1d2733;--soft:#5b6773;--line:#e3e8ec;--tint:#f6f8fa;--link:#2563a8}
*{box-sizing:border-box}
body{margin:0 auto;max-width:62rem;padding:1.2rem 1rem 3rem;background:#fff;color:var(--ink);
font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif;overflow-wrap:anywhere}
h1{font-size:1.6rem;margin:0}h2{font-size:1.2rem;margin:0}p{margin:.4rem 0}a{color:var(--link)}
article{border:1px solid var(--line);border-radius:8px;padding:.9rem 1rem;margin:1rem 0}
.soft{color:var(--soft);font-size:.9rem}
#problem,.problem{color:#8a1f11;font-weight:600}
table{border-collapse:collapse;width:100%;font-size:.92rem;font-variant-numeric:tabular-nums;margin:.6rem 0}
th,td{text-align:left;vertical-align:top;padding:.25rem .9rem .25rem 0;border-bottom:1px solid var(--line)}
th,td:not(:last-child){white-space:nowrap}
thead th,td::before{color:var(--soft);font-weight:400}
tbody tr:first-child td,tbody tr:first-child th{font-weight:600}
pre{margin:.4rem 0 0;padding:.5rem .8rem;background:var(--tint);border:1px solid var(--line);border-radius:5px;
font-size:.88rem;white-space:pre-wrap}
@media(max-width:600px){
thead{display:none}table,tbody,tr,th,td{display:block}tr{border-bottom:1px solid var(--line);padding:.3rem 0}
th,td,td:not(:last-child){border:0;padding:0;white-space:normal}
td[data-label]:not([data-label=""])::before{content:attr(data-label) " "}}
"""
SCRIPT = """
"use strict";
const problem = document.getElementById("problem");
async function look() {
  if (document.hidden) return;
  try {
    const answer = await fetch(location.pathname, {cache: "no-store"});
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const now = page.querySelector("main"), shown = document.querySelector("main");
    if (!answer.ok || !now) {
      const said = page.getElementById("problem");
      problem.textContent = said && said.textContent || "The dashboard answered with an error.";
      return;
    }
    problem.textContent = "";
    document.getElementById("time").textContent = page.getElementById("time").textContent;
    if (now.innerHTML === shown.innerHTML) return;
    const focused = document.activeElement && document.activeElement.getAttribute("href");
    shown.replaceWith(document.importNode(now, true));
    if (focused) [...document.querySelectorAll("main a")].find(a => a.getAttribute("href") === focused)?.focus();
  } catch {
    problem.textContent = "The dashboard does not answer: is `lobtuna dashboard` still running?";
  }
}
setInterval(look, PERIOD * 1000);
document.addEventListener("visibilitychange", look);
""".replace("PERIOD", str(PERIOD))
READ_ONLY = (
    "This dashboard is read-only: optuna-dashboard's buttons that create, rename or delete a study, edit a note or "
    "upload a file are not shown. <code>lobtuna delete NAME</code> deletes a study; "
    "<code>lobtuna dashboard --writable</code> allows the rest."
)
WRITABLE = "This dashboard is writable: what is deleted in it is gone."


@dataclass(frozen=True)
class Entry:
    """One study on the start page, as plain text: nothing in it is read as HTML.

    `rows` are the table's: label, score on selection, score on report, what it is. `lines` are labels with a sentence.
    """

    study_id: int
    name: str
    question: str = ""
    rows: Sequence[Sequence[str]] = ()
    lines: Sequence[tuple[str, str]] = ()
    command: str = ""
    replicates_id: int | None = None  # of the study that holds its replicates
    problem: str = ""  # why there are no first lines


@dataclass(frozen=True)
class Listing:
    """What the start page shows at one moment: the studies, the newest first, and when they were read."""

    entries: Sequence[Entry]
    time: str
    remark: str = ""  # in small print, above the studies


class StartPage:
    """WSGI application: the start page and its script; every other address is passed on to `application`.

    `read` returns what to show, and raises `StorageError` where the database cannot be read: the page then has that
    one line, with status 503.
    """

    def __init__(self, application: Application, read: Callable[[], Listing], writable: bool) -> None:
        self._application, self._read, self._writable = application, read, writable

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "") or START
        if environ["REQUEST_METHOD"] not in ("GET", "HEAD") or path not in (START, START_SCRIPT):
            return self._application(environ, start_response)
        status, kind, text = "200 OK", "text/javascript", SCRIPT
        if path == START:
            status, text = self._page()
            kind = "text/html"
        body = text.encode("utf-8", "replace")
        headers = [("Content-Type", f"{kind}; charset=utf-8"), ("Content-Length", str(len(body)))]
        start_response(status, [*headers, ("Cache-Control", "no-store")])
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [body]

    def _page(self) -> tuple[str, str]:
        try:
            return "200 OK", render(self._read(), self._writable)
        except StorageError as error:
            return "503 Service Unavailable", render(Listing((), ""), self._writable, str(error))


def render(listing: Listing, writable: bool, problem: str = "") -> str:
    """The page as HTML. With a `problem`, that line stands in the place of the studies."""
    entries = "".join(map(_entry, listing.entries))
    if not entries and not problem:
        entries = "<p>There is no study yet. This command creates one:</p><pre>lobtuna create STUDY.yaml</pre>"
    remark = f'<p class="soft">{escape(listing.remark)}</p>' if listing.remark else ""
    time = f"As of {escape(listing.time)}, updated every {PERIOD} seconds." if listing.time else ""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Studies · lobtuna</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<noscript><meta http-equiv="refresh" content="{PERIOD}"></noscript><style>{STYLE}</style></head><body>'
        f'<header><h1>Studies</h1><p class="soft" id="time">{time}</p>'
        f'<p id="problem" role="alert">{escape(problem)}</p></header><main>{remark}{entries}</main>'
        f'<footer class="soft"><p><a href="/dashboard">All studies in optuna-dashboard</a></p>'
        f'<p id="{ACCESS}">{WRITABLE if writable else READ_ONLY}</p></footer>'
        f'<script src="{START_SCRIPT}"></script></body></html>\n'
    )


def _entry(entry: Entry) -> str:
    parts = [f'<h2><a href="{_address(entry.study_id)}">{escape(entry.name)}</a></h2>']
    if entry.question:
        parts.append(f'<p class="soft">{escape(entry.question)}</p>')
    if entry.rows:
        parts.append(_table(entry.rows))
    parts += [f"<p><b>{escape(label)}</b> {escape(text)}</p>" for label, text in entry.lines]
    if entry.command:
        parts.append(f"<pre>{escape(entry.command)}</pre>")
    if entry.problem:
        parts.append(f'<p class="problem">{escape(entry.problem)}</p>')
    if entry.replicates_id is not None:
        parts.append(f'<p class="soft"><a href="{_address(entry.replicates_id)}">its replicates</a></p>')
    return f"<article>{''.join(parts)}</article>"


def _table(rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f'<th scope="col">{name}</th>' if name else "<td></td>" for name in COLUMNS)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(map(_row, rows))}</tbody></table>"


def _row(row: Sequence[str]) -> str:
    cells = zip(COLUMNS[1:], row[1:], strict=True)
    shown = "".join(f'<td data-label="{name}">{escape(cell)}</td>' for name, cell in cells)
    return f'<tr><th scope="row">{escape(row[0])}</th>{shown}</tr>'


def _address(study_id: int) -> str:
    return f"/dashboard/studies/{study_id}"
