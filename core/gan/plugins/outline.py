"""What a plugin's module says about itself, read from its source without running it.

Listing plugins, completing names and finding who offers a name must not run the code of every plugin that is
installed. Entry modules are light and mostly literal, so their entries can be read from the syntax tree by a small
evaluator of constants, f-strings, loops over literals and entry constructors. What it does not understand it says it
does not know; it never guesses.
"""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.machinery import ModuleSpec, PathFinder
from typing import Any

from gan.contracts import ENTRY_TYPES, Entry
from gan.errors import nearest

MAX_SOURCE_BYTES = 1 << 20
MAX_STEPS = 100_000
"""Expressions that are evaluated for one module: a loop that never ends is given up."""
HEAVY = frozenset({"torch", "tensorflow", "jax", "transformers", "librosa", "numba", "scipy", "sklearn", "pandas"})
"""Libraries that take more than the whole start-up may take."""

_CONSTRUCTORS = {type_.__name__: type_ for type_ in ENTRY_TYPES.values()}
_ENDINGS = frozenset({"sys.exit", "os._exit", "os.abort", "exit", "quit"})
_METHODS: dict[type, frozenset[str]] = {
    str: frozenset({"format", "replace", "lower", "upper", "strip", "title", "join", "removeprefix", "removesuffix"}),
    dict: frozenset({"items", "keys", "values", "get"}),
}


@dataclass
class Outline:
    """What the source of an entry module says."""

    entries: dict[str, list[Entry]] = field(default_factory=dict)
    """Entries by hook, of the hooks that could be read."""
    complete: bool = False
    """Whether the module offers these entries and no others."""
    fault: str = ""
    """Why importing it cannot work: the module is not there, a syntax error, a missing library."""
    odd: list[str] = field(default_factory=list)
    """Misspelt hooks, heavy imports: nothing that stops it."""


class _UnreadableError(Exception):
    """Something that only running the module could tell."""


def outline(module: str) -> Outline:
    """The outline of a module by its full name; nothing of it is run."""
    if ":" in module:  # an object inside a module: a plugin that is built when it is imported
        return Outline()
    try:
        spec = find(module)
    except Exception as error:  # noqa: BLE001  (a finder of other people)
        return Outline(fault=f"its module '{module}' cannot be found: {type(error).__name__}: {error}")
    if spec is None:
        return Outline(fault=f"ModuleNotFoundError: No module named '{module}'")
    if not spec.origin or not spec.origin.endswith(".py"):
        return Outline()
    try:
        with open(spec.origin, "rb") as file:
            source = file.read(MAX_SOURCE_BYTES + 1)
    except OSError as error:
        return Outline(fault=f"{type(error).__name__}: {error}")
    if len(source) > MAX_SOURCE_BYTES:
        return Outline()
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError) as error:
        line = f" (line {error.lineno})" if isinstance(error, SyntaxError) and error.lineno else ""
        return Outline(fault=f"SyntaxError: {getattr(error, 'msg', error)}{line}")
    except (RecursionError, MemoryError):
        return Outline()
    return _Reader(tree).outline


def find(module: str) -> ModuleSpec | None:
    """Where a module is, without importing it or its parents."""
    top, *rest = module.split(".")
    spec = importlib.util.find_spec(top)
    path = top
    for part in rest:
        if spec is None or spec.submodule_search_locations is None:
            return None
        path += f".{part}"
        spec = PathFinder.find_spec(path, list(spec.submodule_search_locations))
    return spec


class _Reader:
    """Reads one module's syntax tree."""

    def __init__(self, tree: ast.Module) -> None:
        self.steps = 0
        self.names: dict[str, Any] = {}
        self.outline = Outline(complete=True)
        functions: list[ast.FunctionDef] = []
        for statement in tree.body:
            if isinstance(statement, (ast.Import, ast.ImportFrom)):
                self._import(statement)
            elif isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef)):
                if isinstance(statement, ast.FunctionDef):
                    functions.append(statement)
                self.names.pop(statement.name, None)
            elif isinstance(statement, (ast.Assign, ast.AnnAssign)):
                self._assign(statement, self.names)
            elif isinstance(statement, ast.Raise):
                self.outline.fault = self.outline.fault or f"its module raises {_called(statement.exc)}"
            elif isinstance(statement, ast.Expr) and _called(statement.value) in _ENDINGS:
                self.outline.fault = self.outline.fault or "it tries to end the program when it is imported"
            elif self._may_define(statement):
                self.outline.complete = False
                self.names.clear()
        for function in functions:
            self._function(function)

    def _import(self, statement: ast.Import | ast.ImportFrom) -> None:
        if isinstance(statement, ast.Import):
            tops = [alias.name.partition(".")[0] for alias in statement.names]
        else:
            tops = [] if statement.level else [(statement.module or "").partition(".")[0]]
            if any(alias.name == "*" or (alias.asname or alias.name) in ENTRY_TYPES for alias in statement.names):
                self.outline.complete = False
        for top in tops:
            try:
                missing = importlib.util.find_spec(top) is None
            except Exception:  # noqa: BLE001  (a finder of other people, or a module without a spec)
                missing = False
            if missing and not self.outline.fault:
                self.outline.fault = f"ModuleNotFoundError: No module named '{top}'"
            if top in HEAVY:
                self.outline.odd.append(f"it imports {top} at its top, which makes every start slow")

    def _may_define(self, statement: ast.stmt) -> bool:
        """Whether a compound statement may define a hook or change a constant that hooks use."""
        if isinstance(statement, (ast.Pass, ast.ClassDef)):
            return False
        if isinstance(statement, ast.Expr):
            return not isinstance(statement.value, ast.Constant)
        if isinstance(statement, ast.If) and ast.unparse(statement.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            return bool(statement.orelse)
        return True

    def _assign(self, statement: ast.Assign | ast.AnnAssign, names: dict[str, Any]) -> None:
        targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
        for target in targets:
            if not isinstance(target, ast.Name):
                names.clear()  # x[0] = …, a.b = …: a constant may have changed
                continue
            if target.id in ENTRY_TYPES:
                self.outline.complete = False
            names.pop(target.id, None)
            if statement.value is None:
                continue
            try:
                names[target.id] = self._value(statement.value, names)
            except _UnreadableError:
                continue

    def _function(self, function: ast.FunctionDef) -> None:
        marks = [_dotted(d.func if isinstance(d, ast.Call) else d) for d in function.decorator_list]
        marked = any(mark.rpartition(".")[2] == "hookimpl" for mark in marks)
        if marked and function.name not in ENTRY_TYPES:
            close = nearest(function.name, ENTRY_TYPES)
            self.outline.odd.append(f"'{function.name}' is no hook" + (f"; did you mean '{close}'?" if close else ""))
        elif not marked and function.name in ENTRY_TYPES and not marks:
            self.outline.odd.append(f"'{function.name}' is not marked with @hookimpl, so it is not called")
        elif function.name in ENTRY_TYPES:
            try:
                if not marked or len(marks) > 1 or function.name in self.outline.entries:
                    raise _UnreadableError
                entries = list(self._run(function.body, dict(self.names)))
                if not all(type(entry) is ENTRY_TYPES[function.name] for entry in entries):
                    raise _UnreadableError
                self.outline.entries[function.name] = entries
            except (_UnreadableError, RecursionError):
                self.outline.complete = False

    def _run(self, body: list[ast.stmt], names: dict[str, Any]) -> Iterator[Any]:
        """What a hook's body yields or returns."""
        for statement in body:
            if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Yield):
                if statement.value.value is None:
                    raise _UnreadableError
                yield self._value(statement.value.value, names)
            elif isinstance(statement, ast.Expr) and isinstance(statement.value, ast.YieldFrom):
                yield from self._items(statement.value.value, names)
            elif isinstance(statement, ast.Return):
                if statement.value is not None:
                    yield from self._items(statement.value, names)
                if statement is not body[-1]:
                    raise _UnreadableError
            elif isinstance(statement, (ast.Assign, ast.AnnAssign)):
                self._assign(statement, names)
            elif isinstance(statement, ast.For) and not statement.orelse:
                if any(isinstance(node, (ast.Break, ast.Continue, ast.Return)) for node in ast.walk(statement)):
                    raise _UnreadableError
                for item in self._items(statement.iter, names):
                    self._bind(statement.target, item, names)
                    yield from self._run(statement.body, names)
            elif not isinstance(statement, (ast.Import, ast.ImportFrom, ast.Pass)) and not (
                isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
            ):
                raise _UnreadableError

    def _bind(self, target: ast.expr, value: Any, names: dict[str, Any]) -> None:
        if isinstance(target, ast.Name):
            names[target.id] = value
        elif isinstance(target, (ast.Tuple, ast.List)) and isinstance(value, (tuple, list)):
            if len(target.elts) != len(value):
                raise _UnreadableError
            for part, item in zip(target.elts, value, strict=True):
                self._bind(part, item, names)
        else:
            raise _UnreadableError

    def _items(self, node: ast.expr, names: dict[str, Any]) -> list[Any]:
        value = self._value(node, names)
        if not isinstance(value, (tuple, list, dict)):
            raise _UnreadableError
        return list(value)

    def _value(self, node: ast.expr, names: dict[str, Any]) -> Any:
        """The value of an expression that needs nothing but this module's own constants."""
        self.steps += 1
        if self.steps > MAX_STEPS:
            raise _UnreadableError
        match node:
            case ast.Constant():
                return node.value
            case ast.Name() if node.id in names:
                return names[node.id]
            case ast.Tuple() | ast.List():
                values: list[Any] = []
                for item in node.elts:
                    if isinstance(item, ast.Starred):
                        values += self._items(item.value, names)
                    else:
                        values.append(self._value(item, names))
                return tuple(values) if isinstance(node, ast.Tuple) else values
            case ast.Dict() if None not in node.keys:
                keys = [self._value(key, names) for key in node.keys if key is not None]
                return dict(zip(keys, [self._value(value, names) for value in node.values], strict=True))
            case ast.JoinedStr():
                return "".join(self._text(part, names) for part in node.values)
            case ast.BinOp(op=ast.Add()):
                left, right = self._value(node.left, names), self._value(node.right, names)
                if type(left) is type(right) and isinstance(left, (str, tuple, list, int, float)):
                    return left + right
            case ast.UnaryOp(op=ast.Not()):
                return not self._value(node.operand, names)
            case ast.Compare(ops=[ast.Eq() | ast.NotEq() as op]):
                same = self._value(node.left, names) == self._value(node.comparators[0], names)
                return same if isinstance(op, ast.Eq) else not same
            case ast.IfExp():
                return self._value(node.body if self._value(node.test, names) else node.orelse, names)
            case ast.Subscript():
                try:
                    return self._value(node.value, names)[self._value(node.slice, names)]
                except (LookupError, TypeError):
                    raise _UnreadableError from None
            case ast.ListComp() | ast.GeneratorExp() if len(node.generators) == 1 and not node.generators[0].ifs:
                made, inner = [], dict(names)
                for item in self._items(node.generators[0].iter, names):
                    self._bind(node.generators[0].target, item, inner)
                    made.append(self._value(node.elt, inner))
                return made
            case ast.Call():
                return self._call(node, names)
        raise _UnreadableError

    def _text(self, part: ast.expr, names: dict[str, Any]) -> str:
        if isinstance(part, ast.FormattedValue):
            if part.conversion != -1 or part.format_spec is not None:
                raise _UnreadableError
            return str(self._value(part.value, names))
        return str(self._value(part, names))

    def _call(self, node: ast.Call, names: dict[str, Any]) -> Any:
        if any(keyword.arg is None for keyword in node.keywords):
            raise _UnreadableError
        arguments = [self._value(argument, names) for argument in node.args]
        keywords = {str(keyword.arg): self._value(keyword.value, names) for keyword in node.keywords}
        entry_type = _CONSTRUCTORS.get(_dotted(node.func).rpartition(".")[2])
        try:
            if entry_type is not None:
                return entry_type(*arguments, **keywords)
            if isinstance(node.func, ast.Attribute):
                owner = self._value(node.func.value, names)
                if node.func.attr in _METHODS.get(type(owner), ()):
                    result = getattr(owner, node.func.attr)(*arguments, **keywords)
                    return result if isinstance(owner, str) or node.func.attr == "get" else list(result)
        except (TypeError, ValueError, LookupError):
            raise _UnreadableError from None
        raise _UnreadableError


def _dotted(node: ast.expr | None) -> str:
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value)}.{node.attr}"
    return ""


def _called(node: ast.expr | None) -> str:
    """The dotted name of what is called or named."""
    return _dotted(node.func if isinstance(node, ast.Call) else node)
