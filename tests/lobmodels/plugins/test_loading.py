"""Every mistake in a plugin's file is one line that names the file, the rule, and where it helps the line."""

from __future__ import annotations

from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from lobmodels.errors import PluginError
from lobmodels.plugins import loading
from lobmodels.plugins.loading import is_loaded, load_entry_points, load_file, run
from lobmodels.plugins.registering import PARTS
from lobmodels.plugins.source import Source
from tests.plugin_files import blocks_of_files

HEAD = "import torch\nfrom torch import nn\nfrom lobtuna.plugins import Choice, Float, Int, loss, network\n"
BODY = """
class Net(nn.Module):
    def __init__(self, config, input_size, targets):
        super().__init__()
        self.layer = nn.Linear(input_size, targets)
    def initial_state(self, batch):
        return ()
    def forward(self, x):
        return self.layer(x)
    def forward_step(self, x, state):
        return self.layer(x), ()
"""


def net(decorator: str, body: str = BODY) -> str:
    """A plugin's text with this decorator before its network."""
    return HEAD + body.replace("class Net", f"{decorator}\nclass Net")


MISTAKES = {
    "syntax": ("def broken(:\n", r"mine.py, line 1: "),
    "missing package": ("import no_such_package\n", r"mine.py, line 1: No module named 'no_such_package'; a plugin is"),
    "error of its own": ("x = 1\ny = x / 0\n", r"mine.py, line 2: ZeroDivisionError: division by zero"),
    "nothing registered": ("x = 1\n", r"mine.py registers nothing: put @network"),
    "a built-in name": (net('@network("gru")'), r"network 'gru': lobtuna has one of that name"),
    "no identifier": (net('@network("My Net")'), r"network 'My Net': a name is lower-case letters"),
    "a built-in parameter": (net('@network("n", lr=Float(0, 1, 0.5))'), r"parameter 'lr' is one of lobtuna's own"),
    "no declaration": (
        net('@network("n", taps=8)'),
        r"parameter 'taps' is 8; declare it as Int, Float, Choice or Flag",
    ),
    "default outside": (net('@network("n", taps=Int(2, 4, 8))'), r"'taps': default 8 is not between 2 and 4"),
    "empty range": (net('@network("n", taps=Int(4, 2, 3))'), r"'taps': low 4 is not below high 2"),
    "a fraction as Int": (net('@network("n", taps=Int(2, 4.5, 3))'), r"an Int has whole numbers"),
    "a word as Choice": (net('@network("n", how=Choice("mean"))'), r"a Choice has a list of words"),
    "a function": (
        HEAD + '@network("n")\ndef f(x): ...\n',
        r"network 'n' must be a class derived from torch.nn.Module",
    ),
    "no module": (HEAD + '@network("n")\nclass N: ...\n', r"must be a class derived from torch.nn.Module"),
    "no forward_step": (
        net('@network("n")', BODY.split("    def forward_step")[0]),
        r"has no method forward_step\(x, state",
    ),
    "no forward": (net('@network("n")', BODY.replace("def forward(", "def forwards(")), r"has no method forward\(x\)"),
    "no initial_state": (
        net('@network("n")', BODY.replace("initial_state", "start")),
        r"no method initial_state\(batch",
    ),
    "step without state": (
        net('@network("n")', BODY.replace("forward_step(self, x, state)", "forward_step(self, x)")),
        r"forward_step must take \(self, x, state\)",
    ),
    "other __init__": (
        net('@network("n")', BODY.replace("(self, config, input_size, targets)", "(self, config)")),
        r"__init__ must take \(self, config, input_size, targets\)",
    ),
    "loss of two": (HEAD + '@loss("l")\ndef l(p, y): ...\n', r"loss 'l' must be a function of four arguments"),
    "no name": (HEAD + BODY.replace("class Net", "@network\nclass Net"), r"mine.py"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line(tmp_path: Path, mistake: str) -> None:
    """It names the file and what is wrong, and leaves nothing registered."""
    text, said = MISTAKES[mistake]
    (tmp_path / "mine.py").write_text(text)
    before = set(PARTS)
    with pytest.raises(PluginError, match=said) as caught:
        load_file(tmp_path / "mine.py")
    assert "\n" not in str(caught.value) and "mine.py" in str(caught.value) and set(PARTS) == before


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("none.py", None, "no such file"),
        ("mine.txt", b"x", "one Python file whose name ends in .py"),
        ("mine.py", b"\xff\xfe\x00", "cannot be read as text"),
        ("mine.py", b"#" * 300_000, "300,000 characters, more than 200,000"),
    ],
)
def test_what_is_no_plugin(tmp_path: Path, name: str, content: bytes | None, said: str) -> None:
    """Refused before anything is run."""
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(PluginError, match=said):
        load_file(tmp_path / name)


def test_two_files_cannot_share_a_name(tmp_path: Path) -> None:
    """Both are named; the same file loaded again, changed or not, is no clash."""
    (tmp_path / "a.py").write_text(net('@network("n")'))
    (tmp_path / "b.py").write_text(net('@network("n")') + "# another\n")
    first = load_file(tmp_path / "a.py")
    assert load_file(tmp_path / "a.py") == first
    with pytest.raises(PluginError, match=r"network 'n' is registered by .*a.py and by .*b.py; rename one"):
        load_file(tmp_path / "b.py")
    (tmp_path / "a.py").write_text(net('@network("n", taps=Int(1, 4, 2))'))
    assert load_file(tmp_path / "a.py").digest != first.digest and not is_loaded(first)


def test_a_source_of_a_study_is_run_only_on_request(tmp_path: Path) -> None:
    """Read as data it registers nothing; `run` does."""
    text = blocks_of_files()["causal.py"]
    (tmp_path / "causal.py").write_text(text)
    document = load_file(tmp_path / "causal.py").to_json()
    PARTS.clear()
    source = Source.from_json(document)
    assert not is_loaded(source)
    run(source)
    assert is_loaded(source)


def test_installed_packages_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each module of the entry points is loaded; one that is not there is named."""
    (tmp_path / "my_causal.py").write_text(blocks_of_files()["causal.py"])
    monkeypatch.syspath_prepend(str(tmp_path))
    points = [EntryPoint("causal_conv", "my_causal", "lobtuna.networks")]
    monkeypatch.setattr(loading, "entry_points", lambda group: [p for p in points if p.group == group])
    (found,) = load_entry_points()
    assert [part.name for part in found.declarations] == ["causal_conv"]
    points[:] = [EntryPoint("gone", "no_such_module", "lobtuna.losses")]
    with pytest.raises(PluginError, match="plugin no_such_module, of the installed package"):
        load_entry_points()
