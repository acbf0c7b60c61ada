"""Reads a plugin's entries from its source code, so that listing plugins runs no third-party code.

Entry modules are light and mostly literal. Of a module's syntax tree, only expressions that build plain values and
entries are compiled: constants, names of the module's own constants, f-strings, loops over literals and the entry
constructors. They run without builtins and imports, with a limit on steps and sizes. For a module with anything else,
the outline is incomplete, and the plugin is imported when it is needed.
"""

from __future__ import annotations

import ast
import contextlib
import copy
import importlib.util
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from importlib.machinery import ModuleSpec, PathFinder
from typing import Any

from gan.contracts import ENTRY_TYPES, Entry, WeightsFile
from gan.plugins.hooks import misspelt

MAX_SOURCE_BYTES = 1 << 20
MAX_STEPS = 100_000
"""Iterations, and characters or items of one value, that a module may use."""
HEAVY = frozenset({"torch", "tensorflow", "jax", "transformers", "librosa", "numba", "scipy", "sklearn", "pandas"})
"""Libraries whose import alone takes longer than the whole start-up should."""

_CONSTRUCTORS = {entry_type.__name__: entry_type for entry_type in (*ENTRY_TYPES.values(), WeightsFile)}
_METHODS = frozenset({"items", "keys", "values", "get", "lower", "upper", "title", "strip"})
_EXITS = frozenset({"sys.exit", "os._exit", "os.abort", "exit", "quit"})
_ALLOWED = (
    ast.expr_context, ast.Constant, ast.Name, ast.Tuple, ast.List, ast.Dict, ast.Starred, ast.JoinedStr, ast.BinOp,
    ast.FormattedValue, ast.Add, ast.UnaryOp, ast.Not, ast.Compare, ast.Eq, ast.NotEq, ast.IfExp, ast.Subscript,
    ast.ListComp, ast.GeneratorExp, ast.comprehension, ast.Call, ast.keyword, ast.Expr,
    ast.Yield, ast.YieldFrom, ast.Return, ast.Assign, ast.For, ast.Pass,
)  # fmt: skip


@dataclass
class Outline:
    """What the source of an entry module tells."""

    entries: dict[str, list[Entry]] = field(default_factory=dict)
    """Entries by hook, for the hooks that could be read."""
    complete: bool = False
    """Whether the module offers these entries and no others."""
    fault: str = ""
    """Why importing the module must fail: it does not exist, has a syntax error, needs a missing library."""
    odd: list[str] = field(default_factory=list)
    """Warnings that do not prevent loading: misspelt hooks, heavy imports."""


class _UnreadableError(Exception):
    """The source holds something that only running the module could tell."""


def outline(module: str) -> Outline:
    """The outline of a module by its full name, without importing it."""
    if ":" in module:  # an object inside a module: a plugin that is built when it is imported
        return Outline()
    try:
        spec = find_module(module)
        if spec is None:
            return Outline(fault=f"ModuleNotFoundError: No module named '{module}'")
        if not spec.origin or not spec.origin.endswith(".py"):
            return Outline()
        with open(spec.origin, "rb") as file:
            source = file.read(MAX_SOURCE_BYTES + 1)
        return Outline() if len(source) > MAX_SOURCE_BYTES else _read(ast.parse(source))
    except SyntaxError as error:
        return Outline(fault=f"SyntaxError: {error.msg}" + (f" (line {error.lineno})" if error.lineno else ""))
    except (RecursionError, MemoryError):
        return Outline()
    except Exception as error:  # noqa: BLE001  (a third-party finder may raise anything)
        return Outline(fault=f"its module '{module}' cannot be read: {type(error).__name__}: {error}")


def find_module(module: str) -> ModuleSpec | None:
    """Where a module lies, without importing it or its parents."""
    path, *rest = module.split(".")
    spec = importlib.util.find_spec(path)
    for part in rest:
        if spec is None or spec.submodule_search_locations is None:
            return None
        path += f".{part}"
        spec = PathFinder.find_spec(path, list(spec.submodule_search_locations))
    return spec


def _read(tree: ast.Module) -> Outline:
    found = Outline(complete=True)
    evaluate = _Evaluator()
    functions: dict[str, ast.FunctionDef] = {}
    for statement in tree.body:
        if isinstance(statement, (ast.Import, ast.ImportFrom)):
            _read_import(statement, found)
        elif isinstance(statement, ast.FunctionDef):
            found.complete &= not (statement.name in functions and statement.name in ENTRY_TYPES)
            functions[statement.name] = statement
            evaluate.names.pop(statement.name, None)
        elif isinstance(statement, (ast.Assign, ast.AnnAssign)):
            targets: list[ast.expr] = []
            targets += statement.targets if isinstance(statement, ast.Assign) else [statement.target]
            found.complete &= not any(isinstance(t, ast.Name) and t.id in ENTRY_TYPES for t in targets)
            evaluate.assign(targets, statement.value)
        elif isinstance(statement, ast.Raise):
            found.fault = found.fault or f"its module raises {_called(statement.exc)}"
        elif isinstance(statement, ast.Expr) and _called(statement.value) in _EXITS:
            found.fault = found.fault or "it tries to end the program when it is imported"
        elif not _is_harmless(statement):  # it may define a hook or change a constant
            found.complete = False
            evaluate.names.clear()
    marks = {name: [_called(mark).rpartition(".")[2] for mark in f.decorator_list] for name, f in functions.items()}
    found.odd += misspelt({name: "hookimpl" in mark for name, mark in marks.items() if not mark or "hookimpl" in mark})
    for name, entry_type in ENTRY_TYPES.items():
        if marks.get(name):
            try:
                entries = evaluate.call(functions[name])
            except Exception:  # noqa: BLE001  (the code of the hook may be wrong in any way)
                entries = [None]
            if marks[name] == ["hookimpl"] and all(type(entry) is entry_type for entry in entries):
                found.entries[name] = entries
            else:
                found.complete = False
    return found


def _read_import(statement: ast.Import | ast.ImportFrom, found: Outline) -> None:
    names = [alias.asname or alias.name for alias in statement.names]
    if isinstance(statement, ast.ImportFrom):
        modules = [] if statement.level else [statement.module or ""]
        found.complete &= not any(name == "*" or name in ENTRY_TYPES for name in names)
    else:
        modules = [alias.name for alias in statement.names]
    for top in (module.partition(".")[0] for module in modules):
        try:
            missing = importlib.util.find_spec(top) is None
        except Exception:  # noqa: BLE001  (a third-party finder, or a module without a spec)
            missing = False
        if missing and not found.fault:
            found.fault = f"ModuleNotFoundError: No module named '{top}'"
        if top in HEAVY:
            found.odd.append(f"it imports {top} at its top, which makes every start slow")


def _is_harmless(statement: ast.stmt) -> bool:
    if isinstance(statement, ast.Expr):
        return isinstance(statement.value, ast.Constant)
    if isinstance(statement, ast.If) and _called(statement.test).rpartition(".")[2] == "TYPE_CHECKING":
        return not statement.orelse
    return isinstance(statement, (ast.Pass, ast.ClassDef))


class _Evaluator(ast.NodeTransformer):
    """Compiles and runs what `_ALLOWED` admits, with functions around loops, sums and texts that limit them."""

    def __init__(self) -> None:
        self.steps = 0
        self.names: dict[str, Any] = {}
        """The constants of the module that could be read."""

    def assign(self, targets: list[ast.expr], value: ast.expr | None) -> None:
        """Keep the value of a constant; forget the one that it had when the new one is unreadable."""
        for target in targets:
            if not isinstance(target, ast.Name):
                self.names.clear()  # `x[0] = …` may have changed any constant
                continue
            self.names.pop(target.id, None)
            if value is not None:
                with contextlib.suppress(Exception):
                    self.names[target.id] = self._run([ast.Return(copy.deepcopy(value))])

    def call(self, hook: ast.FunctionDef) -> list[Any]:
        """What a hook yields or returns. Raises any exception when that cannot be read."""
        result = self._run(hook.body)
        if isinstance(result, (str, dict)):
            raise _UnreadableError
        return list(self._counted(result))

    def _run(self, body: list[ast.stmt]) -> Any:
        tree = ast.parse("def function(): pass")
        tree.body[0].body = [self.visit(statement) for statement in body]  # type: ignore[attr-defined]
        scope = {**_CONSTRUCTORS, **self.names, "__builtins__": {}}
        scope |= {"_counted": self._counted, "_sized": _sized, "_scalar": _scalar}
        exec(compile(ast.fix_missing_locations(tree), "<entry module>", "exec"), scope)
        return scope["function"]()

    def visit(self, node: ast.AST) -> Any:
        """The node with limits; raises `_UnreadableError` for what is not allowed."""
        if isinstance(node, (ast.Import, ast.ImportFrom)):  # what it binds stays unknown
            return ast.Pass()
        if isinstance(node, ast.AnnAssign):
            node = ast.Assign([node.target], node.value) if node.value else ast.Pass()
        if isinstance(node, ast.Call):
            name = _called(node).rpartition(".")[2]
            if name in _CONSTRUCTORS:
                node.func = ast.Name(name, ast.Load())
            elif isinstance(node.func, ast.Attribute) and node.func.attr in _METHODS and not node.keywords:
                owner = self.visit(node.func.value)
                arguments = [self.visit(argument) for argument in node.args]
                return ast.Call(ast.Attribute(owner, node.func.attr, ast.Load()), arguments, [])
            else:
                raise _UnreadableError
        changes = isinstance(node, ast.Subscript) and not isinstance(node.ctx, ast.Load)
        if changes or not isinstance(node, _ALLOWED) or getattr(node, "format_spec", None):
            raise _UnreadableError
        node = self.generic_visit(node)
        match node:
            case ast.For() | ast.comprehension():
                node.iter = _within("_counted", node.iter)
            case ast.Starred():
                node.value = _within("_counted", node.value)
            case ast.FormattedValue():  # the text of nested lists could be endless
                node.value = _within("_scalar", node.value)
            case ast.Compare():
                node.left = _within("_scalar", node.left)
            case ast.BinOp() | ast.JoinedStr():
                return _within("_sized", node)
        return node

    def _counted(self, items: Iterable[Any]) -> Iterator[Any]:
        for item in items:
            self.steps += 1
            if self.steps > MAX_STEPS:
                raise _UnreadableError
            yield item


def _sized(value: Any) -> Any:
    if isinstance(value, (str, list, tuple)) and len(value) > MAX_STEPS:
        raise _UnreadableError
    return value


def _scalar(value: Any) -> Any:
    if not isinstance(value, (str, int, float)):
        raise _UnreadableError
    return value


def _within(function: str, node: ast.expr) -> ast.Call:
    return ast.Call(ast.Name(function, ast.Load()), [node], [])


def _called(node: ast.expr | None) -> str:
    """The dotted name of what is called or named."""
    if isinstance(node, ast.Call):
        return _called(node.func)
    if isinstance(node, ast.Attribute):
        return f"{_called(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""
