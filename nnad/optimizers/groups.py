"""Parameter groups by name: other hyper-parameters for some of a model's parameters."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from nnad.autodiff import Tensor

__all__ = ["decay_groups", "groups_by_pattern"]

Named = Iterable[tuple[str, Tensor]]


def groups_by_pattern(
    named_parameters: Named, rules: Mapping[str, Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Groups for an optimizer: each parameter goes to the first pattern that its name matches.

    Args:
        named_parameters: ``model.named_parameters()``.
        rules: hyper-parameters by pattern, with the shell's wildcards (``*``, ``?``, ``[ab]``).

    Returns:
        A group per pattern, and one more of what no pattern matched, unless it is empty.

    Raises:
        ValueError: a pattern matches no parameter.

    >>> named = [("0.weight", Tensor([[1.0]])), ("0.bias", Tensor([1.0]))]
    >>> groups = groups_by_pattern(named, {"*.bias": {"lr": 0.1}})
    >>> [(len(group["params"]), group.get("lr")) for group in groups]
    [(1, 0.1), (1, None)]
    """
    members: dict[str, list[Tensor]] = {pattern: [] for pattern in rules}
    rest: list[Tensor] = []
    names = []
    for name, p in named_parameters:
        names.append(name)
        pattern = next((pattern for pattern in rules if fnmatchcase(name, pattern)), None)
        (rest if pattern is None else members[pattern]).append(p)
    for pattern, found in members.items():
        if not found:
            raise ValueError(
                f"no parameter is left for the pattern {pattern!r}; the parameters are "
                f"{', '.join(names)}"
            )
    groups = [{"params": members[pattern], **hyper} for pattern, hyper in rules.items()]
    return [*groups, {"params": rest}] if rest else groups


def decay_groups(
    named_parameters: Named, weight_decay: float, exclude: Sequence[str] | None = None
) -> list[dict[str, Any]]:
    """Two groups: parameters with weight decay, and those excluded from it.

    Args:
        named_parameters: ``model.named_parameters()``.
        weight_decay: of the first group; that of the second is 0.
        exclude: patterns of excluded names; None: whatever has fewer than two axes (biases and the
            weights of normalisation layers).

    Returns:
        Groups for an optimizer, without the empty ones.

    >>> named = [("0.weight", Tensor([[1.0]])), ("0.bias", Tensor([1.0]))]
    >>> [(len(group["params"]), group["weight_decay"]) for group in decay_groups(named, 0.1)]
    [(1, 0.1), (1, 0.0)]
    """
    decayed: list[Tensor] = []
    excluded: list[Tensor] = []
    for name, p in named_parameters:
        if exclude is None:
            is_excluded = p.ndim < 2
        else:
            is_excluded = any(fnmatchcase(name, pattern) for pattern in exclude)
        (excluded if is_excluded else decayed).append(p)
    groups = [
        {"params": decayed, "weight_decay": weight_decay},
        {"params": excluded, "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]
