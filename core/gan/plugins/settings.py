"""The settings of an entry's target, read from its source: names, types, defaults and descriptions.

Showing what can be set must not import torch, so `Config` and `Options` are read from the syntax tree: pydantic models
with literal defaults and descriptions, nested in the class, beside it, or imported from another module.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass
from functools import cache

from gan.plugins.outline import find

MAX_DEPTH = 8
"""Bases, imports and sections inside sections that are followed."""


@dataclass(frozen=True)
class Setting:
    """One key of a section."""

    name: str
    """With dots where a section lies in a section."""
    type: str
    default: str
    """As it is written in the source; empty: it must be given."""
    description: str


@dataclass(frozen=True)
class _Class:
    module: str
    node: ast.ClassDef


def settings(target: str, attribute: str) -> list[Setting] | None:
    """The settings of ``target.attribute`` (``"gan_sketch.gru:GRU"``, ``"Config"``).

    Empty when the class has no such attribute; None when its source does not tell.
    """
    module, _, path = target.partition(":")
    try:
        owner = _class(module, path, 0)
        return None if owner is None else _attribute(owner, attribute, 0)
    except (OSError, SyntaxError, ValueError, RecursionError):
        return None


def _attribute(owner: _Class, name: str, depth: int) -> list[Setting] | None:
    """The settings of a class's inner class, of its own or of a base."""
    for statement in owner.node.body:
        if isinstance(statement, ast.ClassDef) and statement.name == name:
            return _fields(_Class(owner.module, statement), depth)
        targets: list[ast.expr] = []
        if isinstance(statement, ast.Assign):
            targets = statement.targets
        elif isinstance(statement, ast.AnnAssign) and statement.value is not None:
            targets = [statement.target]
        if any(isinstance(t, ast.Name) and t.id == name for t in targets):
            value = statement.value  # type: ignore[attr-defined]
            if isinstance(value, ast.Constant) and value.value is None:
                return []
            model = _class(owner.module, _dotted(value), depth + 1)
            return None if model is None else _fields(model, depth + 1)
    for base in owner.node.bases:
        above = _class(owner.module, _dotted(base), depth + 1)
        if above is not None:
            return _attribute(above, name, depth + 1)
    return []


def _fields(model: _Class, depth: int) -> list[Setting]:
    """The fields of a pydantic model, those of its bases first, each once in its last form."""
    found: dict[str, list[Setting]] = {}
    for base in model.node.bases:
        above = _class(model.module, _dotted(base), depth + 1)
        if above is not None:
            for setting in _fields(above, depth + 1):
                found.setdefault(setting.name.partition(".")[0], []).append(setting)
    body = model.node.body
    for number, statement in enumerate(body):
        if not isinstance(statement, ast.AnnAssign) or not isinstance(statement.target, ast.Name):
            continue
        name, kind = statement.target.id, ast.unparse(statement.annotation)
        if name.startswith("_") or name == "model_config" or kind.startswith(("ClassVar", "typing.ClassVar")):
            continue
        section = None
        if isinstance(statement.annotation, (ast.Name, ast.Attribute)):
            section = _class(model.module, kind, depth + 1)
        inner = _fields(section, depth + 1) if section is not None else []
        if inner:
            found[name] = [Setting(f"{name}.{s.name}", s.type, s.default, s.description) for s in inner]
            continue
        default, description = _default(statement.value)
        following = body[number + 1] if number + 1 < len(body) else None
        if not description and isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant):
            description = str(following.value.value)
        found[name] = [Setting(name, kind, default, " ".join(description.split()))]
    return [setting for group in found.values() for setting in group]


def _default(value: ast.expr | None) -> tuple[str, str]:
    """(default as written, description) of a field's right side."""
    if value is None:
        return "", ""
    if not (isinstance(value, ast.Call) and _dotted(value.func).rpartition(".")[2] in ("Field", "Setting")):
        return ast.unparse(value), ""
    keywords = {keyword.arg: keyword.value for keyword in value.keywords}
    given = value.args[0] if value.args else keywords.get("default")
    description = keywords.get("description")
    text = str(description.value) if isinstance(description, ast.Constant) else ""
    if given is not None and not (isinstance(given, ast.Constant) and given.value is ...):
        return ast.unparse(given), text
    factory = keywords.get("default_factory")
    return (f"{ast.unparse(factory)}()" if factory is not None else ""), text


def _class(module: str, path: str, depth: int) -> _Class | None:
    """Where a class is defined, through the imports of modules; None for classes of libraries."""
    if depth > MAX_DEPTH or not path:
        return None
    name, _, rest = path.partition(".")
    tree, is_package = _tree(module)
    if tree is None:
        return None
    found: _Class | None = None
    for statement in tree.body:
        if isinstance(statement, ast.ClassDef) and statement.name == name:
            found = _Class(module, statement)
        elif isinstance(statement, ast.ImportFrom):
            for alias in statement.names:
                origin = _absolute(module, is_package, statement)
                if (alias.asname or alias.name) == name and _followed(origin, module):
                    inner = _class(origin, alias.name, depth + 1)
                    if inner is None and rest:  # a module that was imported, and a class of it
                        return _class(f"{origin}.{alias.name}", rest, depth + 1)
                    found = inner
        elif isinstance(statement, ast.Import):
            for alias in statement.names:
                if rest and alias.asname == name and _followed(alias.name, module):
                    return _class(alias.name, rest, depth + 1)
    if found is None or not rest:
        return found
    for statement in found.node.body:
        if isinstance(statement, ast.ClassDef) and statement.name == rest:
            return _Class(found.module, statement)
    return None


def _followed(origin: str, module: str) -> bool:
    """Whether a model may lie there: in the same package, in the core or in another plugin, never in a library."""
    top = origin.partition(".")[0]
    return top in (module.partition(".")[0], "gan") or top.startswith("gan_")


def _absolute(module: str, is_package: bool, statement: ast.ImportFrom) -> str:
    if not statement.level:
        return statement.module or ""
    parts = module.split(".")
    parts = parts[: len(parts) - statement.level + is_package]
    return ".".join([*parts, *([statement.module] if statement.module else [])])


@cache
def _tree(module: str) -> tuple[ast.Module | None, bool]:
    try:
        spec = find(module)
    except Exception:  # noqa: BLE001  (a finder of other people)
        return None, False
    if spec is None or not spec.origin or not spec.origin.endswith(".py"):
        return None, False
    with open(spec.origin, "rb") as file:
        return ast.parse(file.read()), spec.submodule_search_locations is not None


def _dotted(node: ast.expr) -> str:
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value)}.{node.attr}"
    return ""
