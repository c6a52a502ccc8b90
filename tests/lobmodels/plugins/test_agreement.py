"""A network that does not keep its promises is refused before it is trained, with what it did."""

from __future__ import annotations

from pathlib import Path

import pytest

from lobmodels.config import RunConfig
from lobmodels.errors import PluginError
from lobmodels.plugins.agreement import check_features, check_loss, check_metric, check_network
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


PRESSURE = blocks_of_files()["pressure.py"]
WRONG_FEATURES = {
    "looks ahead": ((".tril()", ""), r"=10.0: forward and forward_step differ first at step 0, column pressure_mean"),
    "forgets its state": (("(mean,)\n", "state\n"), r"differ first at step 1, column pressure_mean: \S+ against"),
    "one column differs": (
        ('gives=["pressure_mean"]', 'gives=["a", "b"]'),
        ("        return (weights.tril() @ imbalance(x[..., 0], x[..., 1])).unsqueeze(-1)",
         "        y = weights.tril() @ imbalance(x[..., 0], x[..., 1])\n        return torch.stack([y, y], -1)"),
        ("        return mean.unsqueeze(-1), (mean,)",
         "        n = state[1] + 1\n        return torch.stack([mean, mean + (n > 40)], -1), (mean, n)"),
        ("(torch.zeros(batch, dtype=torch.float64),)", "torch.zeros(2, batch, dtype=torch.float64).unbind()"),
        "differ first at step 40, column b",
    ),
    "batch first": ((".unsqueeze(-1)\n\n    def forward_step", ".T.unsqueeze(-1)\n\n    def forward_step"),
                    r"forward returned shape \(3, 80, 1\), not \(80, 3, 1\), that is \(T, B, gives\)"),
    "no last dimension": (("return mean.unsqueeze(-1), (mean,)", "return mean, (mean,)"),
                          r"forward_step returned shape \(3,\), not \(3, 1\), that is \(B, gives\)"),
    "features alone": (("return mean.unsqueeze(-1), (mean,)", "return mean.unsqueeze(-1)"),
                       r"forward_step must return a pair: features \(B, gives\) and the next state"),
    "state is a list": (("(mean,)\n", "[mean]\n"), "forward_step must give the state as a tuple of tensors"),
    "state grows": (("(mean,)\n", "(mean.unsqueeze(-1),)\n"), "forward_step changes the shapes of the state from"),
    "state is float32": ((", dtype=torch.float64)", ")"),
                         r"changes the types of the state from \['float32'\] to \['float64'\]"),
    "state not zero": (("torch.zeros(", "torch.ones("), "initial_state must be zeros"),
    "another's parameter": (("config.half_life", "config.hidden_size"), "__init__ raised AttributeError"),
    "forward raises": (("weights.tril()", "weights.nothing()"), "forward raised AttributeError"),
    "random": (("weights.tril() @", "torch.rand(1) * weights.tril() @"), "another result the second time"),
    "sequences see each other": (("    mean = self.keep", "    x = x - x.mean(0)\n        mean = self.keep"),
                                 ("        t = torch", "        x = x - x.mean(1, keepdim=True)\n        t = torch"),
                                 "beside others than alone"),
    "never finite": (("imbalance(x[..., 0], x[..., 1])", "(imbalance(x[..., 0], x[..., 1]) / 0)"),
                     "numbers that are not finite"),
}  # fmt: skip


def features_of(tmp_path: Path, text: str) -> str:
    """The name of the last group of the plugin of this text."""
    (tmp_path / "mine.py").write_text(text)
    return load_file(tmp_path / "mine.py").declarations[-1].name


def test_the_pages_features_agree(tmp_path: Path) -> None:
    """Both groups, for other values of the parameter too; a logarithm is finite on positive data."""
    assert features_of(tmp_path, PRESSURE) == "pressure"
    check_features("depth")
    for half_life in (2.0, 50.0):
        check_features("pressure", (("half_life", half_life),))
    logs = '@features("logs", reads=["v0"], gives=["log_v0"])\ndef logs(x, config):\n    return x.log()\n'
    check_features(features_of(tmp_path, f"from lobtuna.plugins import features\n{logs}"))


@pytest.mark.parametrize("mistake", WRONG_FEATURES)
def test_features_that_break_a_promise_are_one_line(tmp_path: Path, mistake: str) -> None:
    """It names the group, the method and what it gave; where both forms differ, the first step and column."""
    *changes, said = WRONG_FEATURES[mistake]
    text = PRESSURE
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    name = features_of(tmp_path, text)
    with pytest.raises(PluginError, match=said) as caught:
        check_features(name, (("half_life", 10.0),))
    assert "\n" not in str(caught.value) and "feature group 'pressure'" in str(caught.value)


def test_features_are_not_trained(tmp_path: Path) -> None:
    """Weights would never change: it is told to be a network."""
    text = (
        "import torch\nfrom lobtuna.plugins import features\n"
        '@features("mixed", reads=["v0"], gives=["mix"])\nclass Mixed(torch.nn.Linear):\n'
        "    def __init__(self, config):\n        super().__init__(1, 1)\n"
        "    def initial_state(self, batch):\n        return ()\n"
        "    def forward_step(self, x, state):\n        return self(x), ()\n"
    )
    name = features_of(
        tmp_path, text.replace("    def initial", "    def forward(self, x):\n        return x\n    def initial")
    )
    with pytest.raises(PluginError, match="has weights to train, and features are computed once"):
        check_features(name)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (
            "return -p.std(0)",
            "gives a perfect prediction of t0 -\\S+ and an unrelated one -\\S+: better predictions must",
        ),
        ("return ((p - y) ** 2).mean(0)", "gives a perfect prediction of t0 0 and an unrelated one"),
        ("return (p * y).sum(0) / p.std(0)", "is nan for a constant prediction of t0: it must be a finite number"),
        ("return p.mean()", r"returned shape \(\), not \(2,\): one number a target"),
        ("return [None, 1.0]", "is nan for a perfect prediction of t0: it must be a finite number"),
        ("return ['a', 'b']", "raised ValueError"),
        ("return nothing", "raised NameError"),
    ],
)
@pytest.mark.filterwarnings("ignore:invalid value")
def test_a_metric_prefers_better_predictions(tmp_path: Path, body: str, said: str) -> None:
    """The page's metric does, and gives a finite number for each target; these do not."""
    (tmp_path / "gain.py").write_text(blocks_of_files()["gain.py"])
    load_file(tmp_path / "gain.py")
    check_metric("gain")
    (tmp_path / "mine.py").write_text(
        f"from lobtuna.plugins import metric\n@metric('mine')\ndef mine(p, y, w):\n    {body}\n"
    )
    load_file(tmp_path / "mine.py")
    with pytest.raises(PluginError, match=said) as caught:
        check_metric("mine")
    assert "metric 'mine'" in str(caught.value) and "\n" not in str(caught.value)
