"""A network that does not keep its promises is refused before it is trained, with what it did."""

from __future__ import annotations

from pathlib import Path

import pytest

from lobmodels.config import RunConfig
from lobmodels.errors import PluginError
from lobmodels.plugins.agreement import check_loss, check_network
from lobmodels.plugins.loading import load_file
from tests.plugin_files import blocks_of_files

CAUSAL = blocks_of_files()["causal.py"]
TORCH = "import torch\nfrom lobtuna.plugins import loss\n"
WRONG = {
    "looks ahead": (("unfold(0, self.taps, 1)", "flip(0).unfold(0, self.taps, 1)"), r"first at step \d+, target t0"),
    "forgets to move the buffer": (("(rows[1:],)", "(state[0],)"), r"taps=8: forward and forward_step differ first at"),
    "one target differs": (
        ("return self.head(torch.relu(self.mix(rows.permute(1, 2, 0).flatten(1)))),",
         "y = self.head(torch.relu(self.mix(rows.permute(1, 2, 0).flatten(1))))\n"
         "        y = torch.stack([y[:, 0], y[:, 1] + 0.1 * (rows[0, :, 0] != 0)], 1)\n        return y,"),
        r"differ first at step 7, target t1",
    ),
    "batch first": (("(rows.flatten(2))))", "(rows.flatten(2)))).transpose(0, 1)"), "forward returned shape"),
    "no tensor": (("return self.head(torch.relu(self.mix(rows.flatten(2))))", "return [x]"), "forward returned a list"),
    "state is a list": (("(rows[1:],)", "[rows[1:]]"), "forward_step must give the state as a tuple of tensors"),
    "prediction alone": ((", (rows[1:],)", ""), "forward_step must return a pair"),
    "state grows": (("(rows[1:],)", "(rows,)"), "forward_step changes the shapes of the state from"),
    "batch not in dimension 1": ((", batch, self.width),)", ", batch, self.width), torch.zeros(2))"),
                                 "dimension 1 is the batch"),
    "state not zero": (("new_zeros(", "new_ones("), "initial_state must be zeros"),
    "init raises": (("super().__init__()", "super().__init__(); 1 / 0"), "__init__ raised ZeroDivisionError"),
    "forward raises": (("rows.flatten(2)", "rows.flatten(1)"), "forward raised RuntimeError"),
    "random": (("(rows.flatten(2))))", "(rows.flatten(2)))) + torch.rand(1)"), "another result the second time"),
    "not finite": (("(rows.flatten(2))))", "(rows.flatten(2)))) / 0"), "not finite"),
}  # fmt: skip


def config_of(tmp_path: Path, text: str, **values: object) -> RunConfig:
    """A configuration of the plugin of this text."""
    (tmp_path / "mine.py").write_text(text)
    source = load_file(tmp_path / "mine.py")
    field = {"network": "architecture", "loss": "loss"}[source.declarations[0].kind]
    return RunConfig.parse({field: source.declarations[0].name, "hidden_size": 8, **values})


def test_the_pages_network_agrees(tmp_path: Path) -> None:
    """For every number of taps, and with more input columns."""
    for taps in (2, 16):
        check_network(config_of(tmp_path, CAUSAL, taps=taps), 32)
    check_network(config_of(tmp_path, CAUSAL), 45)


@pytest.mark.parametrize("mistake", WRONG)
def test_a_broken_promise_is_one_line(tmp_path: Path, mistake: str) -> None:
    """It names the network, the method and what it gave; where both forms differ, the first step and target."""
    (old, new), said = WRONG[mistake]
    assert old in CAUSAL
    text = CAUSAL.replace("*self.initial_state(x.shape[1])", "self.initial_state(x.shape[1])[0]")
    config = config_of(tmp_path, text.replace(old, new))
    with pytest.raises(PluginError, match=said) as caught:
        check_network(config, 32)
    assert "\n" not in str(caught.value) and "network 'causal_conv'" in str(caught.value)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("return (p - y).square()", "returned a tensor of shape"),
        ("return 1.0", "returned a float; it must return a scalar tensor"),
        ("return y.square().mean()", "does not depend on the prediction"),
        ("return (p - y).abs().log().mean() * float('inf')", "is not finite"),
        ("return nothing", "raised NameError"),
    ],
)
def test_a_loss_gives_a_finite_scalar_and_a_gradient(tmp_path: Path, body: str, said: str) -> None:
    """The page's loss does; these do not."""
    config = config_of(tmp_path, blocks_of_files()["quartic.py"])
    check_loss(config)
    other = config_of(tmp_path, f"{TORCH}@loss('mine')\ndef mine(p, y, w, config):\n    {body}\n")
    with pytest.raises(PluginError, match=said):
        check_loss(other)
