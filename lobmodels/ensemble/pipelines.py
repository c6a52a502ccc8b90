"""The distinct inputs of an ensemble's members, as a submission lists them: what two members share is computed once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from numpy.typing import NDArray

from lobmodels.ensemble import runtime
from lobmodels.ensemble.onnx_export import features_graph
from lobmodels.inputs import InputPipeline
from lobmodels.own_features import OwnFeatures
from lobmodels.schema import Schema


class Pipelines:
    """The distinct ones of some `pipelines`, in order of first use, and `own`, the distinct feature groups of plugins
    that they hold, each built for its parameters."""

    def __init__(self, pipelines: Sequence[InputPipeline]) -> None:
        self.distinct = list({_key(pipeline): pipeline for pipeline in pipelines}.values())
        keys = [_key(pipeline) for pipeline in self.distinct]
        self.indices = [keys.index(_key(pipeline)) for pipeline in pipelines]
        built = [list(pipeline.own.values()) for pipeline in self.distinct]
        self.own = list({_own_key(group): group for groups in built for group in groups}.values())
        places = [_own_key(group) for group in self.own]
        self.own_indices = [[places.index(_own_key(group)) for group in groups] for groups in built]

    def tensors(self) -> dict[str, NDArray[Any]]:
        """Shifts, scales and graphs by their names in the weights file. Raises `BundleError` for a group that cannot be
        written as a graph."""
        arrays: dict[str, NDArray[Any]] = {}
        for i, pipeline in enumerate(self.distinct):
            if pipeline.normalizer is not None:
                arrays[f"pipeline.{i}.mean"] = pipeline.normalizer.mean
                arrays[f"pipeline.{i}.std"] = pipeline.normalizer.std
        arrays |= {f"{runtime.OWN}.{i}.{runtime.GRAPH}": features_graph(group) for i, group in enumerate(self.own)}
        return arrays

    def entries(self) -> dict[str, Any]:
        """What the manifest says of them. Groups of plugins are mentioned only where there are some."""
        found: dict[str, Any] = {"pipelines": []}
        for pipeline, places in zip(self.distinct, self.own_indices, strict=True):
            groups = [group for group in pipeline.groups if group not in pipeline.own]
            own = {runtime.OWN: places} if places else {}
            found["pipelines"].append({"groups": groups, "normalizer": pipeline.normalizer is not None, **own})
        if self.own:
            schema = self.distinct[0].schema
            found[runtime.OWN] = [_entry(group, schema) for group in self.own]
        return found


def groups_of(manifest: Mapping[str, Any], pipeline: Mapping[str, Any]) -> tuple[str, ...]:
    """Names of the feature groups of one pipeline of a manifest, in the order in which they are appended."""
    own = (manifest[runtime.OWN][place]["name"] for place in pipeline.get(runtime.OWN, ()))
    return (*pipeline["groups"], *own)


def slots(schema: Schema) -> list[int]:
    """Where the runtime keeps each column: the challenge's columns at their own numbers, where feature groups look for
    them, and the others behind."""
    numbers = {column: number for number, column in enumerate(schema.places) if column >= 0}
    others = iter(range(len(schema.places), len(schema.places) + len(schema.features)))
    return [numbers[column] if column in numbers else next(others) for column in range(len(schema.features))]


def _entry(group: OwnFeatures, schema: Schema) -> dict[str, Any]:
    reads = [schema.features.index(name) for name in group.columns.reads]
    return {"name": group.name, "settings": dict(group.settings), "reads": reads, "gives": list(group.columns.gives)}


def _key(pipeline: InputPipeline) -> tuple[Any, ...]:
    own = (pipeline.settings,) if pipeline.settings else ()
    if pipeline.normalizer is None:
        return (pipeline.groups, None, *own)
    return (pipeline.groups, pipeline.normalizer.mean.tobytes(), pipeline.normalizer.std.tobytes(), *own)


def _own_key(group: OwnFeatures) -> tuple[Any, ...]:
    return (group.name, group.settings)
