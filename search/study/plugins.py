"""The plugins of a study: their source is stored with it, read as data anywhere, and run only where it is trusted.

The source is an attribute of the study rather than an artifact: replicates and revisions copy it, `gc` need not know
it, and it is there whatever store holds the checkpoints.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lobmodels.errors import PluginError
from lobmodels.own_features import names_of
from lobmodels.plugins.declarations import DECLARED, FEATURES, METRIC, Declaration, declare
from lobmodels.plugins.source import Source
from lobmodels.schema import LOB, Schema
from search.errors import SearchError
from search.study.record import PLUGINS
from search.studyfile.spec import StudySpec

if TYPE_CHECKING:
    import optuna

    from lobmodels.config import RunConfig

SAMPLED = 24  # configurations drawn to find some that use a plugin's network
CHECKED = 3  # of these are built and compared step by step


def stored_plugins(attributes: Mapping[str, Any]) -> list[Source]:
    """The plugins in a study's user attributes. Raises `PluginError` where a source is not the one of its digest."""
    return [Source.from_json(document) for document in attributes.get(PLUGINS, ())]


def declare_stored(attributes: Mapping[str, Any]) -> None:
    """Make configurations of this study readable; nothing of the plugins is run."""
    for source in stored_plugins(attributes):
        for declaration in source.declarations:
            declare(declaration)


def load_plugins(files: Sequence[Path | str]) -> list[Source]:
    """Run the plugins that the user names, and those of installed packages. Raises `PluginError`."""
    from lobmodels.plugins.loading import load_entry_points, load_file

    return [*map(load_file, files), *load_entry_points()]


def used_plugins(spec: StudySpec, sources: Sequence[Source], named: int, schema: Schema = LOB) -> list[Source]:
    """Those of `sources` that the space of `spec` uses, each checked on random data with the columns and targets of
    `schema`.

    The first `named` were named by the user: one that nothing uses raises `SearchError`. Raises `PluginError` where a
    part does not keep its promises.
    """
    used = [source for source in sources if any(_uses(spec, part, schema) for part in source.declarations)]
    given = {(part.kind, part.name) for source in used for part in source.declarations}
    for kind, name in DECLARED.keys() - given:
        if _uses(spec, DECLARED[kind, name], schema):
            raise SearchError(
                f"study {spec.name!r} uses the {kind} {name!r} of a plugin, whose source must go with it: name its "
                "file with --plugin"
            )
    for source in sources[:named]:
        if source not in used:
            first = source.declarations[0]
            how = f"{first.in_words}, name that data with --data" if first.kind == METRIC else first.in_words
            raise SearchError(f"study {spec.name!r} uses nothing of {source.file}: write {how}, or leave --plugin out")
    check_plugins(spec, used, schema)
    return used


def check_plugins(spec: StudySpec, sources: Sequence[Source], schema: Schema) -> None:
    """Check the parts of `sources` on random data with the columns and targets of `schema`. Their source
    was run here. Raises `PluginError` where one does not keep its promises."""
    for source in sources:
        _check(spec, source, schema)


def require_code(study: optuna.Study, files: Sequence[Path | str] = (), trust: bool = False) -> None:
    """Make sure that the source of the study's plugins was run here, or may be.

    It was named by the user (`files`), belongs to an installed package, was loaded before, or is trusted: with `trust`
    what the study stores is run. Raises `SearchError` that shows the digest where none of that is so, or where the
    user's file is another than the study's; `PluginError` where it cannot be run.
    """
    stored = stored_plugins(study.user_attrs)
    if not stored:
        return
    from lobmodels.plugins.loading import is_loaded, kept_file, run

    missing = [source for source in stored if not is_loaded(source)]
    own = load_plugins(files) if files or missing else []
    for source in stored:
        if is_loaded(source):
            continue
        other = next((mine for mine in own if _same_part(mine, source)), None)
        if other is not None:
            raise SearchError(
                f"study {study.study_name!r} was created with {source.file} of SHA-256 {source.digest[:16]}, this "
                f"{other.file} has {other.digest[:16]}: runs would not be comparable; use the study's file, or create "
                "a study under another name"
            )
        if not trust:
            raise SearchError(_refusal(study.study_name, source, kept_file(source)))
        run(source)


def _refusal(study: str, source: Source, copy: Path) -> str:
    parts = ", ".join(f"{part.kind} {part.name}" for part in source.declarations)
    return (
        f"study {study!r} uses the plugin {source.file} ({parts}), SHA-256 {source.digest}: its source came from the "
        f"database and is not run here unless you trust it; read {copy}, then add --trust-plugins, or name your own "
        "copy with --plugin FILE"
    )


def _same_part(a: Source, b: Source) -> bool:
    return bool({(p.kind, p.name) for p in a.declarations} & {(p.kind, p.name) for p in b.declarations})


def _uses(spec: StudySpec, part: Declaration, schema: Schema) -> bool:
    """Whether a configuration of the space may name this part, or the data's schema does."""
    if part.kind == METRIC:
        return schema.metric == part.name
    parameter = spec.parameters.get(part.field)
    return parameter is not None and part.value in (parameter.values() or ())


def _check(spec: StudySpec, source: Source, schema: Schema) -> None:
    """Build configurations of the space that use the source's parts, and compare what they compute."""
    from lobmodels.plugins.agreement import check_metric
    from search.study.preview import sample_configurations

    drawn = sample_configurations(spec, SAMPLED)
    for part in source.declarations:
        if not _uses(spec, part, schema):
            continue
        if part.kind == METRIC:
            check_metric(part.name, schema)
            continue
        using = [config for config in drawn if getattr(config, part.field) == part.value]
        for config in using[:CHECKED] or [_default(part)]:
            _check_part(part, config, schema)


def _check_part(part: Declaration, config: RunConfig, schema: Schema) -> None:
    from lobmodels.plugins.agreement import check_features, check_loss, check_network

    if part.kind == "network":
        columns = len(schema.features) + len(names_of(config.feature_groups()))
        check_network(config, columns, schema.targets)
    elif part.kind == "loss":
        check_loss(config, schema)
    elif part.kind == FEATURES:
        taken = [name for name in part.gives if name in schema.features]
        if taken:
            raise PluginError(f"{part.kind} {part.name!r} gives {taken[0]!r}, which is a column of the data; rename it")
        check_features(part.name, config.feature_settings())


def _default(part: Declaration) -> RunConfig:
    from lobmodels.config import RunConfig

    return RunConfig.parse({part.field: part.value})
