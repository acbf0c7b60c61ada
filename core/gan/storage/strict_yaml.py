"""YAML of recipes and plugin indexes: a loader of plain values from untrusted text, and a dumper that it reads back."""

from __future__ import annotations

from typing import Any

import yaml

MAX_DEPTH = 10
"""Deepest nesting of mappings and lists."""
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_NULL = "tag:yaml.org,2002:null"
_TEXT = ("tag:yaml.org,2002:timestamp", "tag:yaml.org,2002:value", "tag:yaml.org,2002:merge")
"""What stays a string: no setting is a date, and ``<<`` and ``=`` have no meaning here."""


def load_yaml(text: str, *, typed: bool = True) -> Any:
    """The mappings, lists and scalars of a YAML document. Unless `typed`, scalars other than null stay strings.

    Raises `ValueError` with the line for syntax errors, anchors, aliases, tags, repeated keys and deep nesting.
    """
    depth = 0
    try:
        for event in yaml.parse(text, Loader=_LOADER):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
                raise _refused(event, "anchors and aliases are not allowed")
            if getattr(event, "tag", None):
                raise _refused(event, "tags are not allowed")
            if depth > MAX_DEPTH:
                raise _refused(event, "nested too deeply")
        node = yaml.compose(text, Loader=_LOADER)
        return None if node is None else _value(node, yaml.constructor.SafeConstructor() if typed else None)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f"line {mark.line + 1}: " if mark else ""
        raise ValueError(f"{line}{getattr(error, 'problem', None) or error}") from None


def dump_yaml(values: Any) -> str:
    """The YAML text of plain values, in their order, which `load_yaml` reads back as they were."""
    text: str = yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=100)
    if any(separator in text for separator in "\x85\u2028\u2029"):  # line breaks of YAML, which would become spaces
        text = yaml.safe_dump(values, sort_keys=False, width=100)
    return text


def _value(node: yaml.Node, constructor: yaml.constructor.SafeConstructor | None) -> Any:
    if isinstance(node, yaml.SequenceNode):
        return [_value(item, constructor) for item in node.value]
    if isinstance(node, yaml.MappingNode):
        found: dict[Any, Any] = {}
        for key_node, value in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise _refused(key_node, "a key must be a scalar")
            key = key_node.value if constructor is None else _value(key_node, constructor)
            if key in found:
                raise _refused(key_node, f"the key '{key}' is repeated")
            found[key] = _value(value, constructor)
        return found
    if constructor is None:
        return None if node.tag == _NULL else node.value
    if node.tag in _TEXT:
        return node.value
    try:
        return constructor.construct_object(node)
    except (ValueError, ArithmeticError, LookupError) as error:  # a number that does not exist (0x_)
        raise _refused(node, str(error)) from None


def _refused(node: yaml.Event | yaml.Node, problem: str) -> ValueError:
    mark = node.start_mark
    return ValueError(f"line {mark.line + 1}: {problem}" if mark else problem)
