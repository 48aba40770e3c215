"""Einstein summation in all of NumPy's forms.

Every form is first rewritten with one letter an axis and an explicit result, "...ij,jk" as
"Aij,jk->Aik"; the rules are again sums of this kind.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from string import ascii_letters, ascii_lowercase, ascii_uppercase
from typing import Any

import numpy as np

from nnad.autodiff.table import add_up, case, explicit, implements
from nnad.autodiff.tensor import value_of
from nnad.ops.arguments import as_array, refuse, store

__all__ = ["einsum", "einsum_path"]

LETTERS = ascii_uppercase + ascii_lowercase  # in the order that NumPy sorts them in


def _einsum_forward(*xs: Any, subscripts: str, optimize: bool | str) -> Any:
    for term, x in zip(_split(subscripts)[0], xs, strict=True):
        if len(set(term)) < len(term) == np.ndim(x):
            _check_diagonal(term, np.shape(x))
    return np.einsum(subscripts, *xs, optimize=optimize)


def _check_diagonal(term: str, shape: tuple[int, ...]) -> None:
    """Raise unless equal letters have equal sizes (NumPy overlooks a size of 0)."""
    if len(set(zip(term, shape, strict=True))) > len(set(term)):
        raise ValueError(f"einsum: {term!r} takes a diagonal, but the operand has shape {shape}")


def _einsum_vjp(i: int, g: Any, ans: Any, *xs: Any, subscripts: str, optimize: bool | str) -> Any:
    """The sum of g times the other operands over all letters that operand i does not have.

    A letter that i has twice (a diagonal) gets an identity matrix, one that nothing else has (a
    sum over i alone) a vector of ones.
    """
    inputs, output = _split(subscripts)
    own = inputs[i]
    operands = [g, *xs[:i], *xs[i + 1 :]]
    terms = [output, *inputs[:i], *inputs[i + 1 :]]
    unused = (letter for letter in LETTERS if letter not in subscripts)
    target = ""
    for n, letter in zip(xs[i].shape, own, strict=True):
        if letter in target:
            twin = next(unused)
            operands.append(np.eye(n, dtype=xs[i].dtype))
            terms.append(letter + twin)
            letter = twin
        target += letter
    for n, letter in zip(xs[i].shape, target, strict=True):
        if not any(letter in term for term in terms):
            operands.append(np.ones(n, xs[i].dtype))
            terms.append(letter)
    return _einsum(*operands, subscripts=",".join(terms) + "->" + target, optimize=optimize)


def _split(subscripts: str) -> tuple[list[str], str]:
    left, output = subscripts.split("->")
    return left.split(","), output


def _einsum_jvp(tangents: Sequence[Any], ans: Any, *xs: Any, **metadata: Any) -> Any:
    return add_up(
        _einsum(*xs[:i], v, *xs[i + 1 :], **metadata)
        for i, v in enumerate(tangents)
        if v is not None
    )


def _samples(rng: np.random.Generator) -> Iterator[Any]:
    sizes = {"i": 2, "j": 3, "k": 4, "b": 2}
    for subscripts in (
        "ij,jk->ik",
        "bij,bjk->bik",
        "ij->ji",
        "ij->",
        "ij->j",
        "ii->i",
        "iji->j",
        "ii->",
        "i,j->ij",
        "ij,ij->",
        "i,ij,j->",
        "ij,k->i",
        ",ij->ij",
    ):
        shapes = [tuple(sizes[c] for c in term) for term in _split(subscripts)[0]]
        arrays = [np.asarray(rng.normal(size=shape)) for shape in shapes]
        yield case(*arrays, subscripts=subscripts, optimize=len(subscripts) % 2 == 0)


_einsum = explicit(
    "einsum",
    _einsum_forward,
    vjps=_einsum_vjp,
    jvp=_einsum_jvp,
    variadic=True,
    broadcasts=True,
    tangent="sum over i of einsum with vi in place of xi",
    formula="sum of products over repeated letters",
    partials=("einsum of g and the other operands",),
    samples=_samples,
)


@implements(np.einsum)
def einsum(*operands: Any, out: Any = None, optimize: Any = False, **options: Any) -> Any:
    """Sum of products of arrays over axes with the same letter; see `numpy.einsum`.

    Args:
        operands: subscripts and arrays, or arrays each followed by a list of integers.
        optimize: as in NumPy; a contraction path given as a list holds for the forward pass.

    >>> x = np.arange(4.0).reshape(2, 2)
    >>> einsum("ii", x)
    np.float64(3.0)
    >>> einsum(x, [0, 1], [1])
    array([2., 4.])
    """
    refuse("einsum", "convert with .astype(...) before or after", **options)
    subscripts, arrays = _operands(operands)
    subscripts = _one_letter_an_axis(subscripts, [x.ndim for x in arrays])
    if not isinstance(optimize, (bool, str)):
        optimize = "greedy"
    return store(_einsum(*arrays, subscripts=subscripts, optimize=optimize), out, "einsum")


@implements(np.einsum_path)
def einsum_path(*operands: Any, optimize: Any = "greedy") -> Any:
    """The order of contractions that `einsum` would take; see `numpy.einsum_path`."""
    plain = [value_of(x) for x in operands]
    return np.einsum_path(*plain, optimize=optimize)


def _operands(operands: Sequence[Any]) -> tuple[str, list[Any]]:
    """The subscripts as a string, and the arrays."""
    if isinstance(operands[0], str):
        return operands[0].replace(" ", ""), [as_array(x) for x in operands[1:]]
    arrays = [as_array(x) for x in operands[: len(operands) // 2 * 2 : 2]]
    subscripts = ",".join(map(_letters, operands[1::2]))
    if len(operands) % 2:
        subscripts += "->" + _letters(operands[-1])
    return subscripts, arrays


def _letters(sublist: Sequence[Any]) -> str:
    return "".join("..." if i is Ellipsis else LETTERS[i] for i in sublist)


def _one_letter_an_axis(subscripts: str, ndims: Sequence[int]) -> str:
    """`subscripts` with a result and without ellipses."""
    left, arrow, output = subscripts.partition("->")
    terms = left.split(",")
    if len(terms) != len(ndims):
        raise ValueError(
            f"einsum: {subscripts!r} names {len(terms)} operand(s), but got {len(ndims)}"
        )
    hidden = [
        ndim - len(term.replace("...", "")) if "..." in term else 0
        for term, ndim in zip(terms, ndims, strict=True)
    ]
    most = max(hidden)
    if arrow and most > 0 and "..." not in output:
        raise ValueError(
            f"einsum: {subscripts!r} has an ellipsis for {most} axes in an operand but none in the "
            "result; write '...' there too, or give the axes letters to sum over them"
        )
    unused = [letter for letter in LETTERS if letter not in subscripts]
    ellipsis = "".join(unused[:most])
    if not arrow:
        once = sorted(c for c in set(left) if c in ascii_letters and left.count(c) == 1)
        output = ellipsis + "".join(once)
    full = [
        term.replace("...", ellipsis[most - n :]) for term, n in zip(terms, hidden, strict=True)
    ]
    return ",".join(full) + "->" + output.replace("...", ellipsis)
