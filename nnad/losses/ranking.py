"""Margin losses: hinges for classes, and distances between pairs and triplets of embeddings."""

from __future__ import annotations

from typing import Any

import numpy as np

from nnad import ops
from nnad.autodiff import Tensor
from nnad.errors import ShapeError
from nnad.losses.base import as_array, like, loss_class, operands, reduced

__all__ = [
    "Contrastive",
    "CosineEmbedding",
    "Hinge",
    "MarginRanking",
    "MulticlassHinge",
    "SquaredHinge",
    "TripletMargin",
    "contrastive",
    "cosine_embedding",
    "hinge",
    "margin_ranking",
    "multiclass_hinge",
    "squared_hinge",
    "triplet_margin",
]

COSINE_EPS = 1e-12  # PyTorch's, added to squared lengths


def hinge(
    scores: Any,
    target: Any,
    *,
    margin: float = 1.0,
    sample_weight: Any = None,
    reduction: str = "mean",
) -> Any:
    r"""Hinge loss :math:`\max(0, m - y s)` of a support vector machine.

    Args:
        scores: any shape.
        target: the same shape; a positive number stands for y = +1, zero and below for -1.
        margin: the product of target and score that is enough.
        sample_weight: a weight for each row, or for each entry.
        reduction: "mean" (divided by the sum of the weights), "sum" or "none".

    >>> float(hinge([0.5, -2.0], [1, 0]))
    0.25
    """
    losses = _hinges("hinge", scores, target, margin)
    return reduced("hinge", losses, sample_weight, reduction)


def squared_hinge(
    scores: Any,
    target: Any,
    *,
    margin: float = 1.0,
    sample_weight: Any = None,
    reduction: str = "mean",
) -> Any:
    r"""Squared hinge loss :math:`\max(0, m - y s)^2`; arguments as :func:`hinge`."""
    losses = ops.square(_hinges("squared_hinge", scores, target, margin))
    return reduced("squared_hinge", losses, sample_weight, reduction)


def _hinges(name: str, scores: Any, target: Any, margin: float) -> Any:
    scores, target = operands(name, scores, target)
    y = ops.where(ops.greater(target, 0), np.ones((), scores.dtype), -np.ones((), scores.dtype))
    return ops.relu(margin - y * scores)


def multiclass_hinge(
    scores: Any,
    target: Any,
    *,
    p: int = 1,
    margin: float = 1.0,
    weight: Any = None,
    sample_weight: Any = None,
    reduction: str = "mean",
) -> Any:
    r"""Hinge loss over classes: :math:`\frac1C \sum_{j \ne y} \max(0, m - s_y + s_j)^p`.

    PyTorch's multi_margin_loss (Crammer and Singer, 2001, summed over the rivals).

    Args:
        scores: (…, classes).
        target: class numbers (…).
        p: 1 or 2.
        margin: by how much the class should beat each rival.
        weight: a weight for each class.
        sample_weight: a weight for each row.
        reduction: "mean" (divided by the sum of the weights), "sum" or "none".
    """
    if p not in (1, 2):
        raise ValueError(f"multiclass_hinge: p must be 1 or 2, got {p}")
    scores = as_array(scores)
    target = target if isinstance(target, Tensor) else np.asarray(target)
    if target.shape != scores.shape[:-1]:
        raise ShapeError(
            f"multiclass_hinge: the scores have shape {scores.shape}, so the target must have "
            f"shape {scores.shape[:-1]}; got {target.shape}"
        )
    n_classes = scores.shape[-1]
    own = ops.pick_class(scores, target)
    gaps = ops.relu(margin - ops.expand_dims(own, -1) + scores)
    # The class itself stands `margin` above nothing: its term is left out.
    rivals = ops.not_equal(ops.expand_dims(target, -1), np.arange(n_classes))
    terms = (gaps if p == 1 else ops.square(gaps)) * ops.astype(rivals, scores.dtype)
    losses = ops.sum(terms, axis=-1) / n_classes
    row_weight = None
    if weight is not None:
        row_weight = ops.pick_class(ops.broadcast_to(like(scores, weight), scores.shape), target)
    return reduced("multiclass_hinge", losses, sample_weight, reduction, row_weight)


def cosine_embedding(
    x1: Any,
    x2: Any,
    target: Any,
    *,
    margin: float = 0.0,
    sample_weight: Any = None,
    reduction: str = "mean",
) -> Any:
    r"""For pairs: :math:`1 - \cos` where they belong together, :math:`\max(0, \cos - m)` elsewhere.

    Args:
        x1: embeddings (…, features).
        x2: the same shape.
        target: (…), 1 where a pair belongs together, -1 where it does not.
        margin: cosine up to which strangers cost nothing.
        sample_weight: a weight for each pair.
        reduction: "mean" (divided by the sum of the weights), "sum" or "none".
    """
    x1, x2, target = _pairs("cosine_embedding", x1, x2, target)
    product = ops.sum(x1 * x2, axis=-1)
    squares = [ops.sum(ops.square(x), axis=-1) + COSINE_EPS for x in (x1, x2)]
    cosine = product / ops.sqrt(squares[0] * squares[1])
    losses = ops.where(ops.greater(target, 0), 1.0 - cosine, ops.relu(cosine - margin))
    return reduced("cosine_embedding", losses, sample_weight, reduction)


def contrastive(
    x1: Any,
    x2: Any,
    target: Any,
    *,
    margin: float = 1.0,
    sample_weight: Any = None,
    reduction: str = "mean",
) -> Any:
    r"""For pairs at the distance d: :math:`d^2/2` where they belong together, else
    :math:`\max(0, m - d)^2/2` (Hadsell, Chopra and LeCun, 2006).

    Args:
        x1: embeddings (…, features).
        x2: the same shape.
        target: (…), 1 where a pair belongs together, 0 (or -1) where it does not.
        margin: distance from which strangers cost nothing.
        sample_weight: a weight for each pair.
        reduction: "mean" (divided by the sum of the weights), "sum" or "none".
    """
    x1, x2, target = _pairs("contrastive", x1, x2, target)
    square = ops.sum(ops.square(x1 - x2), axis=-1)
    apart = ops.square(ops.relu(margin - ops.sqrt(square)))
    losses = 0.5 * ops.where(ops.greater(target, 0), square, apart)
    return reduced("contrastive", losses, sample_weight, reduction)


def _pairs(name: str, x1: Any, x2: Any, target: Any) -> tuple[Any, Any, Any]:
    x1, x2 = operands(name, x1, x2)
    target = like(x1, target)
    if target.shape != x1.shape[:-1]:
        raise ShapeError(
            f"{name}: the embeddings have shape {x1.shape}, so the target must have shape "
            f"{x1.shape[:-1]}; got {target.shape}"
        )
    return x1, x2, target


def triplet_margin(
    anchor: Any,
    positive: Any,
    negative: Any,
    *,
    margin: float = 1.0,
    p: float = 2.0,
    eps: float = 1e-6,
    swap: bool = False,
    sample_weight: Any = None,
    reduction: str = "mean",
) -> Any:
    r"""For triplets: :math:`\max(0, d(a, p) - d(a, n) + m)` (Schroff et al., 2015).

    Args:
        anchor: embeddings (…, features).
        positive: of the same kind as the anchor, the same shape.
        negative: of another kind, the same shape.
        margin: by how much the negative should be further away.
        p: of the p-norm that measures distances.
        eps: added to each difference, as in PyTorch.
        swap: measure the negative from the positive where that is nearer.
        sample_weight: a weight for each triplet.
        reduction: "mean" (divided by the sum of the weights), "sum" or "none".
    """
    anchor, positive, negative = operands("triplet_margin", anchor, positive, negative)
    near = _distance(anchor, positive, p, eps)
    far = _distance(anchor, negative, p, eps)
    if swap:
        far = ops.minimum(far, _distance(positive, negative, p, eps))
    return reduced("triplet_margin", ops.relu(near - far + margin), sample_weight, reduction)


def _distance(x: Any, y: Any, p: float, eps: float) -> Any:
    gap = x - y + eps
    if p == 2:
        return ops.sqrt(ops.sum(ops.square(gap), axis=-1))
    if p == 1:
        return ops.sum(ops.absolute(gap), axis=-1)
    return ops.sum(ops.absolute(gap) ** p, axis=-1) ** (1.0 / p)


def margin_ranking(
    x1: Any,
    x2: Any,
    target: Any,
    *,
    margin: float = 0.0,
    sample_weight: Any = None,
    reduction: str = "mean",
) -> Any:
    r"""For pairs of scores: :math:`\max(0, m - y (x_1 - x_2))`.

    Args:
        x1: scores, any shape.
        x2: the same shape.
        target: 1 where the first should be larger, -1 where the second should; the same shape.
        margin: by how much.
        sample_weight: a weight for each row, or for each pair.
        reduction: "mean" (divided by the sum of the weights), "sum" or "none".
    """
    x1, x2, target = operands("margin_ranking", x1, x2, target)
    losses = ops.relu(margin - target * (x1 - x2))
    return reduced("margin_ranking", losses, sample_weight, reduction)


Hinge = loss_class(hinge, "Hinge")
SquaredHinge = loss_class(squared_hinge, "SquaredHinge")
MulticlassHinge = loss_class(multiclass_hinge, "MulticlassHinge")
CosineEmbedding = loss_class(cosine_embedding, "CosineEmbedding")
Contrastive = loss_class(contrastive, "Contrastive")
TripletMargin = loss_class(triplet_margin, "TripletMargin")
MarginRanking = loss_class(margin_ranking, "MarginRanking")
