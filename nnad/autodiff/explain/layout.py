"""Where the boxes and arrows of a graph go: a layered layout, from top to bottom.

Boxes lie in layers so that every arrow points down (Sugiyama, Tagawa and Toda, 1981).  Between two
layers of boxes lies a layer of labels; an arrow that passes a layer does so at a place of its own.
Labels and passing arrows thus take part in the ordering like boxes, and nothing is drawn over text:

1. layer: the longest path from an input;
2. order within each layer: repeatedly by the mean position of the neighbours, keeping the order
   with the fewest crossings;
3. positions: repeatedly each element to the mean of its neighbours, and then apart again by the
   smallest movement in the sense of least squares (pool adjacent violators).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

ORDER_SWEEPS = 24
PLACE_SWEEPS = 200
GAP_X = 22.0  # between neighbours in a layer
GAP_Y = 20.0  # between layers
STRAIGHT = 0.6  # how much a string wants to stay straight, against being near its ends
INPUT = 0.15  # the weight of inputs and constants, where an operation has 1


@dataclass(eq=False)
class Item:
    """A box, a label, or the place where an arrow passes a layer.

    Attributes:
        key: whatever the caller knows it by.
        x, y: its centre, once laid out.
    """

    key: object
    width: float
    height: float
    layer: int = 0
    x: float = 0.0
    y: float = 0.0
    above: list[Item] = field(default_factory=list)
    below: list[Item] = field(default_factory=list)
    passing: bool = False
    string: list[Item] = field(default_factory=list)  # what should lie straight below each other


@dataclass(eq=False)
class Arrow:
    """An arrow from one box to another with a label on its way.

    Attributes:
        path: once laid out, the box it leaves, what it passes, and the box it reaches.
    """

    source: Item
    target: Item
    label: Item
    path: list[Item] = field(default_factory=list)


def lay_out(boxes: Sequence[Item], arrows: Sequence[Arrow]) -> tuple[float, float]:
    """Place boxes and arrows; every arrow's source comes before its target in `boxes`.

    Returns:
        The width and height that the drawing takes.
    """
    _assign_layers(boxes, arrows)
    layers = _with_passing(boxes, arrows)
    _order(layers)
    _place_across(layers)
    return _place_down(layers)


def _assign_layers(boxes: Sequence[Item], arrows: Sequence[Arrow]) -> None:
    """Even layers for boxes (labels lie between); boxes without a source just above their use."""
    for box in boxes:
        sources = [a.source.layer for a in arrows if a.target is box]
        box.layer = max(sources, default=-2) + 2
    for box in boxes:
        targets = [a.target.layer for a in arrows if a.source is box]
        if targets and not any(a.target is box for a in arrows):
            box.layer = min(targets) - 2


def _with_passing(boxes: Sequence[Item], arrows: Sequence[Arrow]) -> list[list[Item]]:
    """The layers with labels and passing places put in; fills `above`, `below` and `path`."""
    layers: list[list[Item]] = [[] for _ in range(max(box.layer for box in boxes) + 1)]
    for box in boxes:
        layers[box.layer].append(box)
    for arrow in arrows:
        arrow.path = [arrow.source]
        for layer in range(arrow.source.layer + 1, arrow.target.layer):
            last = layer == arrow.target.layer - 1
            item = arrow.label if last else Item(None, 2.0, 0.0, passing=True)
            item.layer = layer
            layers[layer].append(item)
            arrow.path.append(item)
        arrow.path.append(arrow.target)
        for upper, lower in pairwise(arrow.path):
            upper.below.append(lower)
            lower.above.append(upper)
    return layers


# Order ----------------------------------------------------------------------------------------


def _order(layers: list[list[Item]]) -> None:
    """Sort each layer so that few arrows cross."""
    ranks = _ranks(layers)
    best = [list(layer) for layer in layers]
    fewest = crossings(layers)
    for sweep in range(ORDER_SWEEPS):
        if fewest == 0:
            break
        down = sweep % 2 == 0
        for layer in layers if down else reversed(layers):
            _sort_by_neighbours(layer, ranks, down)
        for layer in layers:
            _exchange(layer, ranks)
        found = crossings(layers)
        if found < fewest:
            fewest, best = found, [list(layer) for layer in layers]
    for layer, order in zip(layers, best, strict=True):
        layer[:] = order


def _ranks(layers: Iterable[list[Item]]) -> dict[int, int]:
    """The place of every element in its layer."""
    return {id(item): i for layer in layers for i, item in enumerate(layer)}


def _sort_by_neighbours(layer: list[Item], ranks: dict[int, int], down: bool) -> None:
    """Order a layer by the mean place of each element's neighbours in the layer beside it."""

    def mean(item: Item) -> float:
        near = item.above if down else item.below
        return sum(ranks[id(n)] for n in near) / len(near) if near else ranks[id(item)]

    layer.sort(key=mean)
    ranks.update(_ranks([layer]))


def _exchange(layer: list[Item], ranks: dict[int, int]) -> None:
    """Swap neighbours wherever that saves crossings."""
    for i in range(len(layer) - 1):
        a, b = layer[i], layer[i + 1]
        if _pair_crossings(a, b, ranks) > _pair_crossings(b, a, ranks):
            layer[i], layer[i + 1] = b, a
            ranks[id(a)], ranks[id(b)] = i + 1, i


def _pair_crossings(left: Item, right: Item, ranks: dict[int, int]) -> int:
    """Crossings of the arrows of two neighbours, if they stand in this order."""
    return sum(
        ranks[id(x)] > ranks[id(y)]
        for xs, ys in ((left.above, right.above), (left.below, right.below))
        for x in xs
        for y in ys
    )


def crossings(layers: Iterable[list[Item]]) -> int:
    """How many pairs of arrows cross between neighbouring layers."""
    layers = list(layers)
    ranks = _ranks(layers)
    total = 0
    for layer in layers:
        ends = [ranks[id(low)] for item in layer for low in sorted_below(item, ranks)]
        total += sum(a > b for i, a in enumerate(ends) for b in ends[i + 1 :])
    return total


def sorted_below(item: Item, ranks: dict[int, int]) -> list[Item]:
    """The lower neighbours of an element from left to right: arrows of one box do not cross."""
    return sorted(item.below, key=lambda low: ranks[id(low)])


# Positions ------------------------------------------------------------------------------------


def _place_across(layers: list[list[Item]]) -> None:
    """Horizontal positions: near the neighbours, apart from each other."""
    _find_strings(layers)
    for layer in layers:
        _spread(layer, [0.0] * len(layer))
    for sweep in range(PLACE_SWEEPS):
        for layer in layers if sweep % 2 == 0 else reversed(layers):
            _spread(layer, [_wish(item) for item in layer])
    left = min(item.x - item.width / 2 for layer in layers for item in layer)
    for layer in layers:
        for item in layer:
            item.x -= left


def _find_strings(layers: list[list[Item]]) -> None:
    """Join the places of a long arrow; and a box with its only source, by the label between."""
    for layer in layers:
        for item in layer:
            item.string = item.above[0].string if _goes_on(item) else []
            item.string.append(item)


def _goes_on(item: Item) -> bool:
    """Whether an element belongs straight below the one above it."""
    if len(item.above) != 1:
        return False
    above = item.above[0]
    if item.passing or above.passing:
        return item.passing and above.passing
    if item.layer % 2 == 0:
        return True
    return len(above.below) == 1 and len(item.below[0].above) == 1


def _wish(item: Item) -> float:
    """Where an element would like to be: at the mean of its neighbours; a string as a whole."""
    first, last = item.string[0], item.string[-1]
    pulls = [(n.x, _weight(n)) for n in (*first.above, *last.below)]
    weight = sum(w for _, w in pulls)
    own = sum(n.x for n in item.string) / len(item.string)
    mean = sum(x * w for x, w in pulls) / weight if pulls else own
    return mean if len(item.string) == 1 else STRAIGHT * own + (1 - STRAIGHT) * mean


def _weight(item: Item) -> float:
    """How much an element pulls, and resists: inputs give way to the path that they join."""
    source = item if item.layer % 2 == 0 and not item.passing else (item.above or [item])[0]
    return 1.0 if source.above else INPUT


def _spread(layer: list[Item], wishes: list[float]) -> None:
    """The positions nearest to `wishes` with room for every element (isotonic regression)."""
    offsets = [0.0]
    for a, b in pairwise(layer):
        offsets.append(offsets[-1] + (a.width + b.width) / 2 + GAP_X)
    blocks: list[list[float]] = []  # [mean, weight, how many]
    for wish, offset, item in zip(wishes, offsets, layer, strict=True):
        weight = _weight(item) * (2.0 if item.passing else 1.0)
        blocks.append([wish - offset, weight, 1])
        while len(blocks) > 1 and blocks[-2][0] >= blocks[-1][0]:
            mean, weight, count = blocks.pop()
            before = blocks[-1]
            total = before[1] + weight
            before[0] = (before[0] * before[1] + mean * weight) / total
            before[1], before[2] = total, before[2] + count
    placed = [mean for mean, _, count in blocks for _ in range(int(count))]
    for item, x, offset in zip(layer, placed, offsets, strict=True):
        item.x = x + offset


def _place_down(layers: list[list[Item]]) -> tuple[float, float]:
    """Vertical positions, layer under layer; returns the size of the whole."""
    y = 0.0
    for layer in layers:
        height = max((item.height for item in layer), default=0.0)
        for item in layer:
            item.y = y + height / 2
            if item.passing:
                item.height = height
        y += height + GAP_Y
    width = max(item.x + item.width / 2 for layer in layers for item in layer)
    return width, y - GAP_Y
