"""The parts of a study file are judged together: baselines against the space, the space against itself."""

import pytest

from search.studyfile.checks import UNUSED_DROPOUT, CheckedSpace
from tests.search.studyfile.made_files import JOINT, refused


@pytest.mark.parametrize(
    ("lines", "piece"),
    [
        (
            "architecture: gru_attention\nattention_heads: 4\nhidden_size: {int: [30, 34]}",
            "must be a multiple of attention_heads=4",
        ),
    ],
)
def test_a_space_that_contradicts_itself_is_refused(problems, lines: str, piece: str) -> None:
    """A configuration that cannot be built is found before the study exists."""
    refused(problems, lines, piece)


@pytest.mark.parametrize(
    ("baseline", "piece"),
    [
        ("{hidden_size: 72}", "72 is not in the space: hidden_size is 32 to 160 in steps of 16"),
        ("{lr: 0.1}", "0.1 is not in the space"),
        ("{architecture: lstm}", "lstm is not in the space"),
        ("{batch_size: 128}", "128 is not in the space: batch_size is always 192"),
        ("{pearson_alpha: 0.5}", "pearson_alpha means nothing here: it needs loss to be pearson_combined"),
        ("{temporal: true}", "temporal means nothing here"),
        ("{num_layers: 3}", "the study does not list num_layers, so it is always 2"),
        ("{hiden_size: 64}", "did you mean 'hidden_size'?"),
        ("{lr: }", "nothing is no value of lr"),
    ],
)
def test_a_baseline_outside_the_space_is_refused(problems, baseline: str, piece: str) -> None:
    """A baseline is compared with the space name by name."""
    good = "{architecture: gru, hidden_size: 64, lr: 1e-3, weight_decay: 0, derived: false, loss: mse"
    key = baseline[1:].partition(":")[0]
    kept = ", ".join(part for part in good[1:].split(", ") if not part.startswith(f"{key}:"))
    found = problems(JOINT.replace(good + "}", "{" + kept + ", " + baseline[1:]))
    assert any(piece in problem for problem in found), found


def test_an_incomplete_or_repeated_baseline_is_refused(problems) -> None:
    """A baseline is one configuration: the sampler fills nothing in."""
    good = "  - {architecture: gru, hidden_size: 64, lr: 1e-3, weight_decay: 0, derived: false, loss: mse}\n"
    assert any("the same configuration as baseline 1" in p for p in problems(JOINT.replace(good, good * 2)))
    assert any("lr is missing" in p for p in problems(JOINT.replace("lr: 1e-3, ", "")))


def test_dropout_that_nothing_uses_is_refused() -> None:
    """Searched in a space without a second layer, an input block or an MLP head it would do nothing; with one of them
    somewhere, or as a fixed value, it stays."""
    dropout = {"float": [0.0, 0.3]}
    plain = {"num_layers": 1, "hidden_size": 8, "dropout": dropout}
    assert CheckedSpace(plain, []).problems == [UNUSED_DROPOUT]
    for change in (
        {"num_layers": {"choices": [1, 2]}},
        {"head": "mlp"},
        {"input_block": "projection"},
        {"dropout": 0.1},
    ):
        assert CheckedSpace({**plain, **change}, []).problems == []
    assert CheckedSpace(plain, [], probe=False).problems == []  # a study that was created before still opens
