"""Whether a submission is what was exported: a digest of every array, and of the manifest itself.

The checks of `lobmodels.scoring.verify` prove that a zip computes what its own arrays say. They cannot tell that the
arrays are those of the trained runs: a zip whose every weight was multiplied by .3 passes them. So `export` stores
digests of what it wrote, and `verify` compares with these, or with the stored checkpoints, which are outside the zip.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lobmodels.checkpoint import Checkpoint
from lobmodels.ensemble import scale
from lobmodels.ensemble.bundle import Bundle, Submission
from lobmodels.ensemble.digests import DIGESTS, SEAL, array_digests, sealed
from lobmodels.ensemble.placed import weights_of
from lobmodels.ensemble.runtime import OWN
from lobmodels.errors import BundleError

FACTOR_TOLERANCE = 1e-6  # relative, of a member's scale
NAMED = 4  # tensors of one member that a message lists


def check_digests(submission: Submission) -> bool:
    """Compare a submission with its own manifest. False where that holds no digests: an older lobtuna wrote it.

    Raises `BundleError` that names what was changed.
    """
    manifest = submission.manifest
    if DIGESTS not in manifest:
        return False
    changed = ["manifest.json was changed after export"] if manifest.get(SEAL) != sealed(manifest)[SEAL] else []
    _refuse(submission, changed + _differences(submission, manifest[DIGESTS], "its manifest"))
    return True


def check_stored(submission: Submission, stored: Mapping[str, Checkpoint]) -> None:
    """Compare a submission with the `stored` checkpoints of its members, by the names of the runs.

    Raises `BundleError` that names what is not as it was trained.
    """
    missing = [name for name in submission.runs if name not in stored]
    if missing:
        raise BundleError(f"{submission.path}: there is no stored checkpoint of {', '.join(missing)} to compare with")
    members = [stored[name] for name in submission.runs]
    weights, factors = weights_of(submission.manifest["members"])
    changed = _wrong_scales(submission, members, weights, factors)
    scaled = [scale.rescaled(member, factor) for member, factor in zip(members, factors, strict=True)]
    expected = Bundle.shipped(scaled, weights, factors)
    names = [place.network.name for place in expected.networks]
    if names != submission.names:
        changed.append(f"it holds {', '.join(submission.names)}, and its runs consist of {', '.join(names)}")
        _refuse(submission, changed)
    changed += _wrong_entries(submission.manifest, json.loads(json.dumps(expected.manifest())))
    changed += _differences(submission, array_digests(expected.tensors()), "the stored checkpoints")
    _refuse(submission, changed)


def _differences(submission: Submission, expected: Mapping[str, str], source: str) -> list[str]:
    """What in the zip's arrays differs from the `expected` digests, in words."""
    found = array_digests(submission.arrays)
    wrong = {name for name in {*found, *expected} if found.get(name) != expected.get(name)}
    if not wrong:
        return []
    if wrong == {*found, *expected}:
        every = f"no array is what {source} says: all weights were changed after export, or it is of another export"
        return [f"{every} (members {', '.join(submission.names)})"]
    changed = []
    for i, users in _pipeline_users(submission).items():
        if _under(f"pipeline.{i}.", wrong):
            changed.append(f"the normaliser of {', '.join(users)} is not that of {source}")
    for i, entry in enumerate(submission.manifest.get(OWN, [])):
        if _under(f"{OWN}.{i}.", wrong):
            changed.append(f"the graph of the feature group {entry['name']} is not that of {source}")
    trained = {name: _below(f"member.{k}.", expected) for k, name in enumerate(submission.names)}
    for k, name in enumerate(submission.names):
        parts = _under(f"member.{k}.", wrong)
        if parts:
            other = _whose(_below(f"member.{k}.", found), trained)
            holds = f"holds the weights of {other}" if other else f"is not that of {source} in {_listed(parts)}"
            changed.append(f"{name} {holds}")
    return changed or [f"{_listed(sorted(wrong))} is not in {source}"]


def _wrong_scales(
    submission: Submission,
    members: Sequence[Checkpoint],
    weights: NDArray[np.float64],
    factors: NDArray[np.float64],
) -> list[str]:
    """Members whose scale is not the one that their stored spreads give; unknown spreads were measured at export."""
    stds = scale.spreads(members)
    if stds is None:
        return []
    if "scale" not in submission.manifest["members"][0]:  # the first versions did not scale members
        return []
    expected = scale.factors(stds, weights)
    wrong = np.flatnonzero((np.abs(factors - expected) > FACTOR_TOLERANCE * expected).any(1))
    return [f"{submission.runs[k]} is scaled by {factors[k].tolist()}, not {expected[k].tolist()}" for k in wrong]


def _wrong_entries(manifest: Mapping[str, Any], expected: Mapping[str, Any]) -> list[str]:
    """Members and inputs whose description in the manifest differs from their run's, in words."""
    changed = []
    for mine, trained in zip(manifest["members"], expected["members"], strict=True):
        fields = [name for name in trained if name != "scale" and _contradicts(mine, trained, name)]
        if fields:
            changed.append(f"{mine['name']} is described with another {' and '.join(fields)} than its run has")
    if any(manifest.get(key) != expected.get(key) for key in ("pipelines", OWN)):
        changed.append("the feature groups or normalisers are not those that the runs were trained with")
    return changed


def _contradicts(mine: Mapping[str, Any], trained: Mapping[str, Any], name: str) -> bool:
    """Whether the two differ in `name`. A key that only one of them has comes from another version: ignored."""
    if name not in mine or name not in trained:
        return False
    if isinstance(trained[name], dict) and isinstance(mine[name], dict):
        return any(_contradicts(mine[name], trained[name], inner) for inner in trained[name])
    return bool(mine[name] != trained[name])


def _pipeline_users(submission: Submission) -> dict[int, list[str]]:
    """Members by the number of the pipeline that they read."""
    users: dict[int, list[str]] = {}
    for member in submission.manifest["members"]:
        users.setdefault(member["pipeline"], []).append(member["name"])
    return users


def _whose(mine: Mapping[str, str], expected: Mapping[str, Mapping[str, str]]) -> str | None:
    """The name of the member whose expected digests these are; None where there is none."""
    return next((name for name, theirs in expected.items() if theirs == mine), None)


def _under(prefix: str, names: Iterable[str]) -> list[str]:
    return sorted(name.removeprefix(prefix) for name in names if name.startswith(prefix))


def _below(prefix: str, digests: Mapping[str, str]) -> dict[str, str]:
    return {name.removeprefix(prefix): value for name, value in digests.items() if name.startswith(prefix)}


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


def _refuse(submission: Submission, changed: Sequence[str]) -> None:
    if changed:
        raise BundleError(f"{submission.path}: {'; '.join(changed)}. Do not send it; export it again")
