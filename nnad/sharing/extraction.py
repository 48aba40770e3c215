"""Taking functions out of the package with all they need, as source of their own.

The top-level names of a module are found in its syntax tree; from the wanted names their needs are
followed through the package.  An entry of the table stands for its forward function.  What comes
from NumPy or the standard library becomes an import.
"""

from __future__ import annotations

import ast
import dis
import functools
import importlib
import inspect
from collections.abc import Callable, Iterator
from types import CodeType
from typing import Any

from nnad.autodiff.table import Composite, Primitive

__all__ = ["Extraction"]

Key = tuple[str, str]  # module and name

# What stands in for functions of SciPy that a forward function imports for some dtypes.
STAND_INS = {
    "ndtr": "lambda x, out=None: np.multiply(0.5, np.vectorize(math.erfc)(-x / 2**0.5), out=out)"
}


@functools.cache
def _top_level(module: str) -> dict[str, ast.stmt]:
    """The statements of a module by the names that they define."""
    tree = ast.parse(inspect.getsource(importlib.import_module(module)))
    found: dict[str, ast.stmt] = {}
    for statement in tree.body:
        if isinstance(statement, (ast.FunctionDef, ast.ClassDef)):
            found[statement.name] = statement
        elif isinstance(statement, (ast.Import, ast.ImportFrom)):
            for alias in statement.names:
                found[(alias.asname or alias.name).partition(".")[0]] = statement
        elif isinstance(statement, (ast.Assign, ast.AnnAssign)):
            targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
            found |= {t.id: statement for t in targets if isinstance(t, ast.Name)}
    return found


# What stands for the engine, which has nothing to do where all arrays are plain, and for threads.
PLAIN = {
    ("nnad.autodiff.tensor", "Tensor"): "class Tensor:\n    pass",
    ("nnad.autodiff.tensor", "is_recorded"): "def is_recorded(x):\n    return False",
    ("nnad.autodiff.tensor", "value_of"): "def value_of(x):\n    return x",
    ("nnad.cores.team", "share"): "def share(do, items):\n    for item in items:\n        do(item)",
    ("nnad.cores.team", "matrix_product"): (
        "def matrix_product(a, b, *, out=None, **options):\n"
        "    return np.matmul(a, b, out=out, **options)"
    ),
    ("nnad.ops.arguments", "as_array"): "def as_array(x):\n    return np.asarray(x)",
}


class Extraction:
    """Source that defines the wanted functions, and all they need, on NumPy alone."""

    def __init__(self) -> None:
        self.imports: dict[str, None] = {"import numpy as np": None}
        self._names: dict[Key, str] = {}
        self._definitions: dict[Key, str] = {}

    def forward(self, primitive: Primitive) -> str:
        """The name by which the source knows the forward function of an entry of the table."""
        function = primitive.forward
        module = str(getattr(function, "__module__", ""))
        if not module.startswith("nnad"):
            return self._outside(function)
        name = getattr(function, "__qualname__", "")
        if name in _top_level(module):
            return self.take(module, name)
        return self._made(module, primitive)

    def _made(self, module: str, primitive: Primitive) -> str:
        """A forward function that is written, or made, within the entry: give it a name."""
        key = (module, f"{primitive.name} forward")
        if key not in self._names:
            expression = _copied(ast.Expr(_forward_expression(module, primitive)))
            self._define(key, f"_{primitive.name}_forward", ast.unparse(expression))
        return self._names[key]

    def _define(self, key: Key, called: str, expression: str) -> None:
        module = key[0]
        statement = ast.parse(f"{called} = {expression}").body[0]
        self._names[key] = called
        renamed = {name: self.take(module, name) for name in _needs(statement, module)}
        self._definitions[key] = ast.unparse(_Renamed(renamed).visit(statement))

    @property
    def source(self) -> str:
        """Imports and definitions."""
        return "\n".join(self.imports) + "\n\n\n" + "\n\n\n".join(self._definitions.values())

    def _outside(self, function: Callable[..., Any]) -> str:
        import numpy as np

        name = str(function.__name__)
        if getattr(np, name, None) is function:
            return f"np.{name}"
        self.imports[f"from {function.__module__} import {name}"] = None
        return name

    def take(self, module: str, name: str) -> str:
        """Include a name of a module; returns what it is called in the source."""
        key = (module, name)
        if key in self._names:
            return self._names[key]
        if key in PLAIN:
            self._definitions[key] = PLAIN[key]
            return self._alias(key, name)
        value = getattr(importlib.import_module(module), name)
        if isinstance(value, Primitive) and not isinstance(value, Composite):
            return self._alias(key, self.forward(value))
        statement = _top_level(module)[name]
        if isinstance(statement, (ast.Import, ast.ImportFrom)):
            return self._imported(key, statement, value)
        taken = set(self._names.values())
        called = name if name not in taken else f"{name}_{module.rpartition('.')[2]}"
        self._names[key] = called
        self._definitions[key] = ""  # its place, should it need itself
        renamed = {n: self.take(module, n) for n in _needs(statement, module) if n != name}
        renamed[name] = called
        del self._definitions[key]
        self._definitions[key] = ast.unparse(_Renamed(renamed).visit(_copied(statement)))
        if "math.erfc" in self._definitions[key]:  # of a stand-in
            self.imports["import math"] = None
        return called

    def _alias(self, key: Key, target: str) -> str:
        self._names[key] = target
        return target

    def _imported(self, key: Key, statement: ast.Import | ast.ImportFrom, value: Any) -> str:
        name = key[1]
        alias = next(a for a in statement.names if (a.asname or a.name).partition(".")[0] == name)
        if isinstance(statement, ast.Import):
            self.imports[ast.unparse(ast.Import([alias]))] = None
        elif str(statement.module).startswith("nnad"):
            if inspect.ismodule(value):
                raise LookupError(f"{key[0]} uses the module {name} as a whole")
            return self._alias(key, self.take(str(statement.module), alias.name))
        else:
            self.imports[ast.unparse(ast.ImportFrom(statement.module, [alias], 0))] = None
        return self._alias(key, name)


def _forward_expression(module: str, primitive: Primitive) -> ast.expr:
    """The expression that gives the forward function in the entry of an operation."""
    tree = ast.parse(inspect.getsource(importlib.import_module(module)))
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        texts = [a.value for a in node.args if isinstance(a, ast.Constant)]
        named = [k.value.value for k in node.keywords if isinstance(k.value, ast.Constant)]
        if texts[:1] == [primitive.name] and len(node.args) > 1:
            return node.args[1]
        if primitive.name in named and node.args:
            return node.args[0]
    raise LookupError(f"no entry of {module} names {primitive.name}")


def _needs(statement: ast.stmt, module: str) -> Iterator[str]:
    """The top-level names of a module that a statement, but for its type hints, uses."""
    known = _top_level(module)
    code = compile(ast.unparse(_copied(statement)), module, "exec", dont_inherit=True)
    yield from (name for name in dict.fromkeys(_globals_of(code)) if name in known)


def _globals_of(code: CodeType) -> Iterator[str]:
    """The names that code, and the functions in it, look up outside of functions."""
    for instruction in dis.get_instructions(code):
        if instruction.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
            yield str(instruction.argval)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _globals_of(constant)


def _copied(statement: ast.stmt) -> ast.stmt:
    """A statement of its own, without type hints (but those that make the fields of a class)."""
    copy = ast.parse(ast.unparse(statement)).body[0]
    for node in ast.walk(copy):
        if isinstance(node, ast.FunctionDef):
            node.returns = None
        elif isinstance(node, ast.arg):
            node.annotation = None
        elif isinstance(node, ast.AnnAssign):
            node.annotation = ast.Name("object", ast.Load())
    return copy


class _Renamed(ast.NodeTransformer):
    """Calls top-level names what the source calls them."""

    def __init__(self, names: dict[str, str]) -> None:
        self.names = names

    def visit_Name(self, node: ast.Name) -> ast.AST:
        called = self.names.get(node.id, node.id)
        parsed = ast.parse(called, mode="eval").body  # such as np.tanh
        if isinstance(parsed, ast.Name):
            return ast.copy_location(ast.Name(called, node.ctx), node)
        return ast.copy_location(parsed, node)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.AST:
        """An import within a function: SciPy's functions have stand-ins on NumPy."""
        if not str(node.module).startswith("scipy"):
            return node
        (alias,) = node.names
        if alias.name not in STAND_INS:
            raise LookupError(f"it needs {node.module}.{alias.name}")
        return ast.parse(f"{alias.asname or alias.name} = {STAND_INS[alias.name]}").body[0]

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.name = self.names.get(node.name, node.name)
        self.generic_visit(node)
        return node

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        node.name = self.names.get(node.name, node.name)
        self.generic_visit(node)
        return node
