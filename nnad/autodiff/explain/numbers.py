"""Values as short texts: four digits, small arrays in full, large ones by their ends and shape."""

from __future__ import annotations

import unicodedata
from typing import Any

import numpy as np

WHOLE = 12  # elements of an array that are printed in full, if they fit into so many letters:
WHOLE_LETTERS = 34
MACRON, DOT = "\u0304", "\u0307"  # combining: above the letter before


def number(x: Any, digits: int = 4) -> str:
    """One number: 0.5, 1.234e-05, 2-1j.

    >>> number(0.62245933), number(-0.0), number(3), number(1 - 2j)
    ('0.6225', '0', '3', '1-2j')
    """
    if x is None or isinstance(x, (bool, np.bool_, int, np.integer, str)):
        return str(x)
    if isinstance(x, (complex, np.complexfloating)):
        imaginary = number(x.imag, digits)
        sign = "" if imaginary.startswith("-") else "+"
        return f"{number(x.real, digits)}{sign}{imaginary}j"
    text = f"{x:.{digits}g}"
    return "0" if text == "-0" else text


def value(x: Any, digits: int = 4) -> str:
    """Any value: a number, an array, or a tuple of them.

    >>> value(np.array([1.0, 2.5])), value(np.arange(100.0))
    ('[1, 2.5]', '[0, …, 99] (100,)')
    """
    if isinstance(x, (tuple, list)):
        return "(" + ", ".join(value(part, digits) for part in x) + ")"
    if not isinstance(x, np.ndarray):
        return number(x, digits)
    if x.ndim == 0:
        return number(x[()], digits)
    if x.size <= WHOLE:
        text = _nested(x, digits)
        if len(text) <= WHOLE_LETTERS or x.size < 4:
            return text
    return f"{_ends(x.ravel(), digits)} {shape(x)}"


def exact(x: Any) -> str:
    """A number to its last digit; an array as `value` shows it, with eight.

    >>> exact(0.1 + 0.2), exact(np.float32(0.1))
    ('0.30000000000000004', '0.1')
    """
    return str(np.asarray(x)[()]) if is_scalar(x) else value(x, 8)


def product(a: Any, b: Any) -> str:
    """Two single numbers as a product; nothing for arrays.

    >>> product(2.0, -0.5), product(2.0, np.ones(3))
    ('2 · (-0.5)', '')
    """
    if a is None or b is None or not (is_scalar(a) and is_scalar(b)):
        return ""
    left, right = value(a), value(b)
    return f"{left} · ({right})" if right.startswith("-") else f"{left} · {right}"


def _nested(x: Any, digits: int) -> str:
    if x.ndim == 0:
        return number(x[()], digits)
    return "[" + ", ".join(_nested(part, digits) for part in x) + "]"


def _ends(x: Any, digits: int) -> str:
    return f"[{number(x[0], digits)}, …, {number(x[-1], digits)}]"


def shape(x: Any) -> str:
    """The shape of an array in ASCII without spaces: (64,10).

    >>> shape(np.ones((64, 10)))
    '(64,10)'
    """
    return str(np.shape(x)).replace(" ", "")


def is_scalar(x: Any) -> bool:
    """Whether `x` is one number rather than an array of several."""
    return not isinstance(x, (tuple, list)) and np.ndim(x) == 0


def width(text: str) -> int:
    """Columns that `text` takes: marks above a letter take none.

    >>> width("v̄1 = 2")
    6
    """
    return sum(not unicodedata.combining(letter) for letter in text)


def pad(text: str, columns: int) -> str:
    """`text` with spaces up to a number of columns."""
    return text + " " * max(0, columns - width(text))


def cut(text: str, columns: int) -> str:
    """`text` with its end replaced by … where it is longer than that many columns.

    >>> cut("a long story", 7)
    'a long…'
    """
    if width(text) <= columns:
        return text
    kept = ""
    for letter in text:
        if width(kept + letter) >= columns:
            break
        kept += letter
    return kept + "…"


def bar(name: str) -> str:
    """The name of an adjoint: v̄1 for v1, x̄ for x, ∂weights for a longer name.

    >>> bar("v12"), bar("x"), bar("w['a']")
    ('v̄12', 'x̄', "∂w['a']")
    """
    return _marked(name, MACRON) or f"∂{name}"


def dot(name: str) -> str:
    """The name of a tangent: v̇1 for v1, ẋ for x, d weights for a longer name.

    >>> dot("v12"), dot("w['a']")
    ('v̇12', "d w['a']")
    """
    return _marked(name, DOT) or f"d {name}"


def _marked(name: str, mark: str) -> str:
    return name[0] + mark + name[1:] if len(name) == 1 or name[1:].isdigit() else ""
