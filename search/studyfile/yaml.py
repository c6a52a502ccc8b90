"""Reads YAML as YAML 1.2 does and keeps the line of every value, so that an error can point at its place."""

import re
from collections.abc import Iterator
from typing import Any

import yaml

Path_ = tuple[str | int, ...]

# YAML 1.1, which PyYAML speaks, reads 2e-4 as text, 1:30 as 90, 010 as 8 and `on` as true. The 1.2 core schema,
# which people expect, has none of this.
_RESOLVERS = (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?[0-9][0-9_]*|0x[0-9a-fA-F]+", "-+0123456789"),
    (
        "float",
        r"[-+]?(\.[0-9]+|[0-9][0-9_]*(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        "-+.0123456789",
    ),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("merge", r"<<", "<"),
)


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 - PyYAML's own hook


for _tag, _pattern, _first in _RESOLVERS:
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(rf"^(?:{_pattern})$"), list(_first))


LONGEST_TEXT, MOST_NODES, DEEPEST = 1_000_000, 20_000, 50  # characters, values with aliases written out, levels
LONGEST_NUMBER = 60  # characters
LARGEST_INTEGER = 2**63 - 1


class _TooMuch(Exception):
    """The document is too large or too deep to be a study file."""


class YamlDocument:
    """Plain values of a YAML text, the line (1-based) of each path in it, and what was wrong with it."""

    def __init__(self, text: str) -> None:
        self.lines: dict[Path_, int] = {}
        self.problems: list[tuple[Path_, str]] = []
        self.value: Any = None
        self._nodes = 0
        if len(text) > LONGEST_TEXT:
            self.problems.append(((), f"{len(text):,} characters are too many for a study file"))
            return
        try:
            nodes = list(yaml.compose_all(text, Loader=_Loader))
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            self.lines[()] = mark.line + 1 if mark else 1
            self.problems.append(((), f"not YAML: {getattr(error, 'problem', None) or error}"))
            return
        except RecursionError:
            self.problems.append(((), f"nested deeper than {DEEPEST} levels"))
            return
        if not nodes:
            return
        if len(nodes) > 1:
            self.problems.append(((), f"one YAML document is expected, not {len(nodes)}"))
            return
        try:
            self.value = self._plain(nodes[0], (), ())
        except _TooMuch as error:
            self.value, self.problems = None, [((), str(error))]

    def line(self, path: Path_) -> int | None:
        """Line of `path`, or of the closest thing around it."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path)

    def _plain(self, node: yaml.Node, path: Path_, above: tuple[yaml.Node, ...]) -> Any:
        self._nodes += 1
        if self._nodes > MOST_NODES:
            raise _TooMuch(f"more than {MOST_NODES:,} values, aliases written out: no study file needs so many")
        if len(above) > DEEPEST:
            raise _TooMuch(f"nested deeper than {DEEPEST} levels")
        self.lines.setdefault(path, node.start_mark.line + 1)
        if node in above:
            self.problems.append((path, "an alias that contains itself"))
            return None
        above = (*above, node)
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path, above)
        if isinstance(node, yaml.SequenceNode):
            return [self._plain(item, (*path, i), above) for i, item in enumerate(node.value)]
        return self._scalar(node, path)

    def _mapping(self, node: yaml.MappingNode, path: Path_, above: tuple[yaml.Node, ...]) -> dict[str, Any]:
        values: dict[str, Any] = {}
        merged: dict[str, Any] = {}
        for key, value in node.value:
            if key.tag.endswith(":merge"):
                merged.update(self._merge(value, path, above))
                continue
            if not isinstance(key, yaml.ScalarNode):
                self.problems.append((path, "a key must be a plain word"))
                continue
            name = str(key.value)
            line = key.start_mark.line + 1
            if name in values:
                first = self.lines[(*path, name)]
                self.lines[(*path, name)] = line
                self.problems.append(((*path, name), f"{name!r} is given twice, first on line {first}"))
            self.lines[(*path, name)] = line
            values[name] = self._plain(value, (*path, name), above)
        return merged | values

    def _merge(self, node: yaml.Node, path: Path_, above: tuple[yaml.Node, ...]) -> dict[str, Any]:
        """Values that `<<: *anchor` (or a list of them, the first one winning) adds."""
        parts = node.value if isinstance(node, yaml.SequenceNode) else [node]
        merged: dict[str, Any] = {}
        for part in parts:
            if not isinstance(part, yaml.MappingNode):
                self.problems.append((path, "'<<' merges mappings only"))
                continue
            merged = self._plain(part, path, above) | merged
        return merged

    def _scalar(self, node: yaml.Node, path: Path_) -> Any:
        tag = node.tag.rpartition(":")[2]
        text = node.value
        if tag == "str":
            return text
        if tag == "null":
            return None
        if tag == "bool":
            return text.lower() == "true"
        if tag in ("int", "float") and len(text) > LONGEST_NUMBER:
            self.problems.append((path, f"a number of {len(text)} characters: write it shorter, as in 1e-5"))
            return None
        if tag == "int":
            number = int(text.replace("_", ""), 16 if text.lower().startswith("0x") else 10)
            if abs(number) > LARGEST_INTEGER:
                self.problems.append((path, f"{text} is larger than any number here may be ({LARGEST_INTEGER})"))
                return None
            return number
        if tag == "float":
            return float(re.sub(r"\.(inf|nan)$", r"\1", text.lower().replace("_", "")))
        self.problems.append((path, f"the tag {node.tag!r} is not supported: write a plain value"))
        return None


def leading_comment(text: str) -> str:
    """First comment of the file before any value: the question that the study asks."""
    for line in _leading_lines(text):
        words = line.lstrip("#").strip()
        if words:
            return words
    return ""


def _leading_lines(text: str) -> Iterator[str]:
    for line in text.splitlines():
        stripped = line.strip()
        if stripped.startswith("#"):
            yield stripped
        elif stripped and not stripped.startswith(("---", "%")):
            return
