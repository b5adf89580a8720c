"""Reads YAML 1.2 (core schema) into plain values, and records the line of each of them.

PyYAML follows YAML 1.1, where `2e-4` is text and `on` is a boolean. Here its scanner and parser are used with the
scalars of the core schema (YAML 1.2.2, section 10.3.2), and nothing else: no tags, no merge keys, no Python objects.
"""

import re
from collections.abc import Hashable
from dataclasses import dataclass, field

import yaml
from yaml.composer import Composer
from yaml.parser import Parser
from yaml.reader import Reader, ReaderError
from yaml.resolver import BaseResolver
from yaml.scanner import Scanner

MAX_CHARACTERS = 512 * 1024  # a ConfigMap holds 1 MiB, and a recipe is stored in one
MAX_DEPTH = 32
MAX_VALUES = 20_000  # aliases counted each time they are used, so that they cannot multiply without end
MAX_DIGITS = 400

STRING, NULL, BOOLEAN, INTEGER, FLOAT, SEQUENCE, MAPPING = (
    f"tag:yaml.org,2002:{name}" for name in ("str", "null", "bool", "int", "float", "seq", "map")
)

CORE_SCALARS: tuple[tuple[str, re.Pattern[str], list[str]], ...] = (
    (NULL, re.compile(r"^(?:null|Null|NULL|~|)$"), ["n", "N", "~", ""]),
    (BOOLEAN, re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")),
    (INTEGER, re.compile(r"^(?:[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)$"), list("-+0123456789")),
    (
        FLOAT,
        re.compile(
            r"^(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?"
            r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$"
        ),
        list("-+.0123456789"),
    ),
)
"""Tag, pattern and possible first characters of the plain scalars that are not text ("": the empty scalar)."""
GO_SCALARS = (*CORE_SCALARS, (BOOLEAN, re.compile(r"^[yYnN]$"), list("yYnN")))
"""The same with what kubectl and Helm don't read as text either: a writer has to quote all of it."""

KeyPath = tuple[str | int, ...]
"""The keys and list positions that lead to a value."""


@dataclass(frozen=True)
class Problem:
    """Something wrong at one place of a document."""

    line: int
    """Counted from 1."""
    path: KeyPath
    message: str


@dataclass
class Document:
    """The values of a document; duplicated or unreadable ones are listed in `problems`."""

    value: object = None
    lines: dict[KeyPath, int] = field(default_factory=dict)
    """The line of each value, counted from 1 (for a mapping's value: the line of its key)."""
    problems: list[Problem] = field(default_factory=list)


class _TooMuch(yaml.YAMLError):
    """The document is nested too deeply or, through aliases, too large."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line


class _CoreResolver(BaseResolver):
    """Recognises the plain scalars that are numbers, booleans and null."""


for _tag, _pattern, _first in CORE_SCALARS:
    _CoreResolver.add_implicit_resolver(_tag, _pattern, _first)


class _CoreComposer(Reader, Scanner, Parser, Composer, _CoreResolver):
    """Text to a graph of nodes with their lines."""

    def __init__(self, text: str) -> None:
        Reader.__init__(self, text)
        Scanner.__init__(self)
        Parser.__init__(self)
        Composer.__init__(self)
        _CoreResolver.__init__(self)
        self.depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Hashable) -> yaml.Node | None:
        """Compose one node; the nesting is bounded because composing is recursive."""
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise _TooMuch(self.line + 1, f"nested more than {MAX_DEPTH} levels deep")
        node: yaml.Node | None = super().compose_node(parent, index)  # type: ignore[arg-type]
        self.depth -= 1
        return node


class _Constructor:
    """Nodes to plain values."""

    def __init__(self) -> None:
        self.document = Document()
        self.count = 0

    def construct(self, node: yaml.Node, path: KeyPath, line: int) -> object:
        self.count += 1
        if self.count > MAX_VALUES or len(path) > MAX_DEPTH:
            raise _TooMuch(line, f"more than {MAX_VALUES} values, or aliases that lead back to themselves")
        self.document.lines[path] = line
        if isinstance(node, yaml.MappingNode) and node.tag == MAPPING:
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode) and node.tag == SEQUENCE:
            return [self.construct(item, (*path, i), item.start_mark.line + 1) for i, item in enumerate(node.value)]
        if isinstance(node, yaml.ScalarNode):
            try:
                return _scalar(node.tag, node.value)
            except ValueError as error:
                self._report(line, path, str(error))
                return node.value
        self._report(line, path, f"tag {_short(node.tag)} is not allowed here: write the plain value")
        return None

    def _mapping(self, node: yaml.MappingNode, path: KeyPath) -> dict[str, object]:
        values: dict[str, object] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                self._report(line, path, "a key must be plain text, not a list or a mapping")
                continue
            key = key_node.value
            if key in values:
                first = self.document.lines[(*path, key)]
                self._report(line, (*path, key), f"this key appears twice: it is already on line {first}")
                continue
            values[key] = self.construct(value_node, (*path, key), line)
        return values

    def _report(self, line: int, path: KeyPath, message: str) -> None:
        self.document.problems.append(Problem(line, path, message))


def _short(tag: str) -> str:
    return tag.replace("tag:yaml.org,2002:", "!!")


def _scalar(tag: str, text: str) -> object:
    """The value of a scalar of the core schema; ValueError says what is wrong with another one."""
    if tag == STRING:
        return text
    pattern = next((pattern for core_tag, pattern, _ in CORE_SCALARS if core_tag == tag), None)
    if pattern is None:
        raise ValueError(f"tag {_short(tag)} is not allowed here: write the plain value")
    if not pattern.match(text):
        raise ValueError(f"{text!r} does not fit its tag {_short(tag)}")
    if tag == NULL:
        return None
    if tag == BOOLEAN:
        return text.lower() == "true"
    if len(text) > MAX_DIGITS:
        raise ValueError(f"a number of {len(text)} characters")
    if tag == INTEGER:
        base = {"0o": 8, "0x": 16}.get(text[:2], 10)
        return int(text, base)
    return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))


def read_yaml(text: str) -> Document:
    """Read one YAML document.

    A document that can't be read at all (syntax, nesting, size) has one problem and the value None; duplicated keys
    and foreign tags are problems beside the values that could be read.
    """
    if len(text) > MAX_CHARACTERS:
        return Document(problems=[Problem(1, (), f"{len(text)} characters; a recipe has at most {MAX_CHARACTERS}")])
    constructor = _Constructor()
    try:
        node = _CoreComposer(text).get_single_node()
        if node is not None:
            constructor.document.value = constructor.construct(node, (), node.start_mark.line + 1)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        what = ", ".join(part for part in (error.context, error.problem) if part)
        return Document(problems=[Problem(mark.line + 1 if mark else 1, (), f"not valid YAML: {what}")])
    except _TooMuch as error:
        return Document(problems=[Problem(error.line, (), str(error))])
    except ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        return Document(problems=[Problem(line, (), f"not valid YAML: {error.reason} (#x{error.character:04x})")])
    return constructor.document
