"""Native convolution and pooling over one or two axes, channels last.

Each thread takes whole images.  A convolution copies the windows of one image as the rows of a
matrix that stays in the second-level cache, and multiplies; its two transposes do the same
backwards.  Gradients of the kernel are summed per thread, then over threads, in a fixed order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nnad.compiler.native.ir import Kernel, Place
from nnad.compiler.native.kernels import call_gemm, contiguous_strides, native, require
from nnad.compiler.native.module import GRAIN, Module
from nnad.compiler.native.scalar import FLOAT
from nnad.compiler.program import Instruction, Value


@dataclass(frozen=True)
class Geometry:
    """Sizes of a window operation on images (height, width, channels); one axis: height 1."""

    height: int
    width: int
    channels: int
    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[tuple[int, int], tuple[int, int]]
    outputs: tuple[int, int]

    @classmethod
    def of(
        cls,
        x_shape: Sequence[int],
        y_shape: Sequence[int],
        kernel: Sequence[int],
        stride: Sequence[int],
        padding: Sequence[Any],
    ) -> Geometry:
        """From the shapes of input and output and the operation's own arguments."""
        axes = len(x_shape) - 2
        require(axes in (1, 2), "windows over more than two axes")
        lead: Any = (1,) * (2 - axes)
        pairs: Any = tuple(p if isinstance(p, (tuple, list)) else (p, p) for p in padding)
        height, width, channels = (1,) * (2 - axes) + tuple(x_shape[1:])
        return cls(
            height,
            width,
            channels,
            kernel=(*lead, *kernel),
            stride=(*lead, *stride),
            padding=(*(((0, 0),) * (2 - axes)), *pairs),
            outputs=(*lead, *y_shape[1:-1]),
        )

    @property
    def padded(self) -> tuple[int, int, int]:
        """Sizes of an image with its padding."""
        (top, bottom), (left, right) = self.padding
        return self.height + top + bottom, self.width + left + right, self.channels

    @property
    def is_padded(self) -> bool:
        """Whether there is any padding."""
        return self.padded != (self.height, self.width, self.channels)

    @property
    def positions(self) -> int:
        """Windows of an image."""
        return self.outputs[0] * self.outputs[1]

    @property
    def window(self) -> int:
        """Elements of a window."""
        return self.kernel[0] * self.kernel[1] * self.channels


def images(place: Place) -> Place:
    """A contiguous batch of images as (n, elements of one)."""
    require(place.strides == contiguous_strides(place.shape), "images that are not contiguous")
    size = int(np.prod(place.shape[1:]))
    return place.viewed([place.shape[0], size], [size, 1])


class Windows:
    """Writes what the window kernels share.

    Args:
        module, kernel: written into.
        geometry: the sizes.
        fill: what padding holds.
    """

    def __init__(
        self, module: Module, kernel: Kernel, geometry: Geometry, fill: float = 0.0
    ) -> None:
        self.module, self.kernel, self.geometry = module, kernel, geometry
        self.fill = fill
        self.dtype = np.float32 if kernel.type == "float" else np.float64

    def scratch(self, *shape: int, fill: float = 0.0) -> Place:
        """Memory of this thread, of the given shape."""
        flat = thread_scratch(self.module, int(np.prod(shape)), self.dtype, fill)
        return flat.viewed(shape, contiguous_strides(shape))

    def inner(self, i: str, source: Place) -> Place:
        """Image `i` as (padded height, padded width, channels): itself, or its padded copy."""
        g, k = self.geometry, self.kernel
        if not g.is_padded:
            shape = (g.height, g.width, g.channels)
            return OffsetPlace(
                source.viewed(shape, contiguous_strides(shape)), source.strides[0], i
            )
        copy = self.scratch(*g.padded, fill=self.fill)
        row = g.width * g.channels
        top, left = g.padding[0][0], g.padding[1][0]
        pitch = g.padded[1] * g.channels
        flat = copy.viewed([g.padded[0] * pitch], [1])
        with k.loop(g.height) as y:
            start = k.emit(
                f"add nsw i64 {k.emit(f'mul nsw i64 {y}, {pitch}')}, "
                f"{top * pitch + left * g.channels}"
            )
            begin = k.emit(f"mul nsw i64 {y}, {row}")
            with k.loop(row) as j:
                value = k.load(source, [i, k.emit(f"add nsw i64 {begin}, {j}")])
                k.store(flat, [k.emit(f"add nsw i64 {start}, {j}")], value)
        return copy

    def each_window(self, body: Any) -> None:
        """Call `body(number, top, left)` in loops over the windows; top and left of each."""
        g, k = self.geometry, self.kernel
        with k.loop(g.outputs[0]) as oy:
            top = k.emit(f"mul nsw i64 {oy}, {g.stride[0]}")
            first = k.emit(f"mul nsw i64 {oy}, {g.outputs[1]}")
            with k.loop(g.outputs[1]) as ox:
                left = k.emit(f"mul nsw i64 {ox}, {g.stride[1]}")
                body(k.emit(f"add nsw i64 {first}, {ox}"), top, left)

    def columns(self, image: Place, columns: Place) -> None:
        """Copy the windows of an image as rows of a matrix."""
        g, k = self.geometry, self.kernel
        run = g.kernel[1] * g.channels

        def copy(number: str, top: str, left: str) -> None:
            for ky in range(g.kernel[0]):
                y = k.emit(f"add nsw i64 {top}, {ky}")
                with k.loop(run) as j:
                    source = row_of(image, g.padded)
                    x = k.emit(f"add nsw i64 {k.emit(f'mul nsw i64 {left}, {g.channels}')}, {j}")
                    value = k.load(source, [y, x])
                    k.store(columns, [number, k.emit(f"add nsw i64 {j}, {ky * run}")], value)

        self.each_window(copy)


def thread_scratch(module: Module, size: int, dtype: Any, fill: float = 0.0) -> ThreadPlace:
    """A vector of memory for each thread."""
    step = size + GRAIN  # threads do not write to a common cache line
    whole = module.place(np.full((max(1, module.threads), step), fill, dtype))
    return ThreadPlace(whole.viewed([size], [1]), step)


def row_of(image: Place, padded: Sequence[int]) -> Place:
    """(height, width, channels) as (height, width * channels)."""
    pitch = padded[1] * padded[2]
    return image.viewed([padded[0], pitch], [pitch, 1])


class OffsetPlace(Place):
    """A place that begins a number of elements, known when the program runs, further on."""

    def __init__(self, place: Place, step: int, index: str) -> None:
        self.__dict__.update(place.__dict__)
        self.step, self.index = step, index

    def viewed(self, shape: Sequence[int], strides: Sequence[int], offset: int = 0) -> Place:
        """The same memory seen with another shape."""
        return OffsetPlace(Place.viewed(self, shape, strides, offset), self.step, self.index)

    def origin(self, kernel: Kernel, base: str) -> str:
        """Pointer to the first element."""
        skip = kernel.emit(f"mul nsw i64 {self.index}, {self.step}")
        return kernel.emit(f"getelementptr {self.type}, ptr {base}, i64 {skip}")


class ThreadPlace(OffsetPlace):
    """A place of which each thread has its own."""

    def __init__(self, place: Place, step: int) -> None:
        super().__init__(place, step, "%part")


def _geometry(instruction: Instruction, x: Any, y: Any, kernel: Sequence[int]) -> Geometry:
    options = instruction.kwargs
    require(options.get("groups", 1) == 1, "a convolution in groups")
    require(all(d == 1 for d in options.get("dilation", (1,))), "a dilated convolution")
    return Geometry.of(x.shape, y.shape, kernel, options["stride"], options["padding"])


@native("conv")
def conv(module: Module, instruction: Instruction) -> None:
    """y = windows of x as rows @ w + bias, image by image."""
    x, w, bias = instruction.args
    (out,) = instruction.outputs
    g = _geometry(instruction, x, out, w.shape[:-2])
    channels = out.shape[-1]
    kernel = module.kernel(out.dtype)
    source, target, weight = images(module.place(x)), images(module.place(out)), module.place(w)
    require(source.type == target.type == weight.type, "dtypes of a convolution")
    weight = _matrix(weight, g.window, channels)
    windows = Windows(module, kernel, g)
    with _each_image(module, kernel, source.shape[0], g, channels) as i:
        image = windows.inner(i, source)
        columns = windows.scratch(g.positions, g.window)
        windows.columns(image, columns)
        result = OffsetPlace(
            target.viewed([g.positions, channels], [channels, 1]), target.strides[0], i
        )
        if bias is not None:
            b = module.place(bias)
            with kernel.loop(g.positions) as p, kernel.loop(channels) as o:
                kernel.store(result, [p, o], kernel.load(b, [o]))
        call_gemm(module, kernel, columns, weight, result, add=bias is not None)
    module.call(kernel)


def _matrix(place: Place, rows: int, columns: int) -> Place:
    require(place.strides == contiguous_strides(place.shape), "a kernel that is not contiguous")
    return place.viewed([rows, columns], [columns, 1])


def _each_image(module: Module, kernel: Kernel, n: int, g: Geometry, channels: int) -> Any:
    start, stop = module.share(kernel, n, n * g.positions * g.window * channels, 1)
    return kernel.loop(stop, start)


@native("conv_input")
def conv_input(module: Module, instruction: Instruction) -> None:
    """dx: the rows of g @ w.T, added back to the windows they came from."""
    g_value, w = instruction.args
    (out,) = instruction.outputs
    g = _geometry(instruction, out, g_value, w.shape[:-2])
    channels = g_value.shape[-1]
    kernel = module.kernel(out.dtype)
    slope, target = images(module.place(g_value)), images(module.place(out))
    weight = _matrix(module.place(w), g.window, channels)
    require(slope.type == target.type == weight.type, "dtypes of a convolution")
    windows = Windows(module, kernel, g)
    transposed = weight.viewed([channels, g.window], [1, channels])
    with _each_image(module, kernel, slope.shape[0], g, channels) as i:
        own = OffsetPlace(slope.viewed([g.positions, channels], [channels, 1]), slope.strides[0], i)
        columns = windows.scratch(g.positions, g.window)
        call_gemm(module, kernel, own, transposed, columns)
        _add_back(kernel, windows, columns, target, i)
    module.call(kernel)


def _add_back(kernel: Kernel, windows: Windows, columns: Place, target: Place, i: str) -> None:
    """Zero the image, then add every window's row to it."""
    g, k = windows.geometry, kernel
    shape = (g.height, g.width, g.channels)
    own = OffsetPlace(target.viewed(shape, contiguous_strides(shape)), target.strides[0], i)
    image = windows.scratch(*g.padded) if g.is_padded else own
    size = int(np.prod(g.padded))
    flat = image.viewed([size], [1])
    with k.loop(size) as j:
        k.store(flat, [j], k.number(0))
    rows, run = row_of(image, g.padded), g.kernel[1] * g.channels

    def add(number: str, top: str, left: str) -> None:
        for ky in range(g.kernel[0]):
            y = k.emit(f"add nsw i64 {top}, {ky}")
            start = k.emit(f"mul nsw i64 {left}, {g.channels}")
            with k.loop(run) as j:
                x = k.emit(f"add nsw i64 {start}, {j}")
                value = k.load(columns, [number, k.emit(f"add nsw i64 {j}, {ky * run}")])
                k.store(rows, [y, x], k.op("fadd", k.load(rows, [y, x]), value))

    windows.each_window(add)
    if g.is_padded:
        _cut_out(k, g, image, own)


def _cut_out(k: Kernel, g: Geometry, image: Place, own: Place) -> None:
    """Copy the inside of a padded image."""
    top, left = g.padding[0][0], g.padding[1][0]
    rows = row_of(image, g.padded)
    inside = own.viewed([g.height, g.width * g.channels], [g.width * g.channels, 1])
    with k.loop(g.height) as y:
        from_y = k.emit(f"add nsw i64 {y}, {top}")
        with k.loop(g.width * g.channels) as j:
            x = k.emit(f"add nsw i64 {j}, {left * g.channels}")
            k.store(inside, [y, j], k.load(rows, [from_y, x]))


@native("conv_weight")
def conv_weight(module: Module, instruction: Instruction) -> None:
    """dw = sum over images of (windows as rows).T @ g."""
    x, g_value = instruction.args
    (out,) = instruction.outputs
    g = _geometry(instruction, x, g_value, instruction.kwargs["kernel"])
    channels = g_value.shape[-1]
    source, slope = images(module.place(x)), images(module.place(g_value))
    target = _matrix(module.place(out), g.window, channels)
    require(source.type == slope.type == target.type, "dtypes of a convolution")
    kernel = module.kernel(out.dtype)
    windows = Windows(module, kernel, g)
    size = g.window * channels
    sums = windows.scratch(g.window, channels)
    flat = sums.viewed([size], [1])
    with kernel.loop(size) as j:
        kernel.store(flat, [j], kernel.number(0))
    with _each_image(module, kernel, source.shape[0], g, channels) as i:
        image = windows.inner(i, source)
        columns = windows.scratch(g.positions, g.window)
        windows.columns(image, columns)
        own = OffsetPlace(slope.viewed([g.positions, channels], [channels, 1]), slope.strides[0], i)
        transposed = columns.viewed([g.window, g.positions], [1, g.window])
        call_gemm(module, kernel, transposed, own, sums, add=True)
    module.call(kernel)
    sum_threads(module, sums, target, size)


def sum_threads(module: Module, sums: Any, target: Place, size: int) -> None:
    """Add up what the threads gathered."""
    require(target.size == size and target.strides[-1] == 1, "a scattered sum")
    threads = max(1, module.threads)
    kernel = module.kernel(target.dtype)
    parts = Place.viewed(sums, [threads, size], [sums.step, 1])
    flat = target.viewed([size], [1])
    start, stop = module.share(kernel, size, size * threads)
    with kernel.loop(stop, start) as j:
        total = kernel.load(parts, ["0", j])
        for thread in range(1, threads):
            total = kernel.op("fadd", total, kernel.load(parts, [str(thread), j]))
        kernel.store(flat, [j], total)
    module.call(kernel)


# Pooling --------------------------------------------------------------------------------------


def _pool_geometry(instruction: Instruction, x: Any, y: Any) -> Geometry:
    options = instruction.kwargs
    return Geometry.of(x.shape, y.shape, options["kernel"], options["stride"], options["padding"])


def _best(k: Kernel, g: Geometry, rows: Place, top: str, left: str, c: str) -> str:
    """The largest element of a window, in one channel."""
    best = None
    for y, x in _offsets(k, g, top, left, c):
        value = k.load(rows, [y, x])
        best = value if best is None else FLOAT["maximum"](k, value, best)
    return best or k.number(-np.inf)


def _offsets(k: Kernel, g: Geometry, top: str, left: str, c: str) -> list[tuple[str, str]]:
    start = k.emit(f"add nsw i64 {k.emit(f'mul nsw i64 {left}, {g.channels}')}, {c}")
    return [
        (k.emit(f"add nsw i64 {top}, {ky}"), k.emit(f"add nsw i64 {start}, {kx * g.channels}"))
        for ky in range(g.kernel[0])
        for kx in range(g.kernel[1])
    ]


@native("max_pool")
def max_pool(module: Module, instruction: Instruction) -> None:
    """The largest element of each window."""
    (x,), (out,) = instruction.args, instruction.outputs
    g = _pool_geometry(instruction, x, out)
    kernel = module.kernel(out.dtype)
    source, target = images(module.place(x)), images(module.place(out))
    windows = Windows(module, kernel, g, -np.inf)
    with _each_image(module, kernel, source.shape[0], g, 1) as i:
        image = row_of(windows.inner(i, source), g.padded)
        own = OffsetPlace(
            target.viewed([g.positions, g.channels], [g.channels, 1]), target.strides[0], i
        )

        def pick(number: str, top: str, left: str) -> None:
            with kernel.loop(g.channels) as c:
                kernel.store(own, [number, c], _best(kernel, g, image, top, left, c))

        windows.each_window(pick)
    module.call(kernel)


def _hit_places(hits: Place, g: Geometry, n: int) -> Place:
    """(position in the window, image, window, channel) of a contiguous array of booleans."""
    require(hits.strides == contiguous_strides(hits.shape), "hits that are not contiguous")
    shape = [g.kernel[0] * g.kernel[1], n, g.positions, g.channels]
    return hits.viewed(shape, contiguous_strides(shape))


@native("max_pool_hits")
def max_pool_hits(module: Module, instruction: Instruction) -> None:
    """Which elements of each window are its largest."""
    x, y = instruction.args
    (out,) = instruction.outputs
    require(isinstance(x, Value) and isinstance(y, Value), "constants")
    g = _pool_geometry(instruction, x, y)
    kernel = module.kernel(x.dtype)
    source, best = images(module.place(x)), images(module.place(y))
    hits = _hit_places(module.place(out), g, source.shape[0])
    windows = Windows(module, kernel, g, -np.inf)
    with _each_image(module, kernel, source.shape[0], g, 1) as i:
        image = row_of(windows.inner(i, source), g.padded)
        largest = OffsetPlace(
            best.viewed([g.positions, g.channels], [g.channels, 1]), best.strides[0], i
        )

        def compare(number: str, top: str, left: str) -> None:
            with kernel.loop(g.channels) as c:
                value = kernel.load(largest, [number, c])
                for m, (row, column) in enumerate(_offsets(kernel, g, top, left, c)):
                    hit = kernel.compare("oeq", kernel.load(image, [row, column]), value)
                    byte = kernel.emit(f"zext i1 {hit} to i8")
                    kernel.store(hits, [str(m), i, number, c], byte)

        windows.each_window(compare)
    module.call(kernel)


@native("max_pool_scatter")
def max_pool_scatter(module: Module, instruction: Instruction) -> None:
    """Put each window's gradient back to its largest elements, shared among ties."""
    g_value, hits_value = instruction.args
    (out,) = instruction.outputs
    require(isinstance(hits_value, Value), "constants")
    g = _pool_geometry(instruction, out, g_value)
    require(not g.is_padded, "padded pooling")
    kernel = module.kernel(out.dtype)
    slopes, targets = images(module.place(g_value)), images(module.place(out))
    hits = _hit_places(module.place(hits_value), g, targets.shape[0])
    windows = Windows(module, kernel, g)
    pitch = g.width * g.channels
    with _each_image(module, kernel, targets.shape[0], g, 1) as i:
        slope = OffsetPlace(
            slopes.viewed([g.positions, g.channels], [g.channels, 1]), slopes.strides[0], i
        )
        target = OffsetPlace(targets.viewed([g.height, pitch], [pitch, 1]), targets.strides[0], i)
        flat = target.viewed([g.height * pitch], [1])
        with kernel.loop(g.height * pitch) as j:
            kernel.store(flat, [j], kernel.number(0))

        def put_back(number: str, top: str, left: str) -> None:
            with kernel.loop(g.channels) as c:
                _share_out(
                    kernel, _offsets(kernel, g, top, left, c), target, slope, hits, (i, number, c)
                )

        windows.each_window(put_back)
    module.call(kernel)


def _share_out(
    k: Kernel,
    elements: list[tuple[str, str]],
    target: Place,
    slope: Place,
    hits: Place,
    window: tuple[str, str, str],
) -> None:
    """Add a window's gradient to its hits, divided by how many there are."""
    i, number, c = window
    ones = [
        k.emit(f"uitofp i8 {k.load(hits, [str(m), i, number, c])} to {k.type}")
        for m in range(len(elements))
    ]
    count = ones[0]
    for one in ones[1:]:
        count = k.op("fadd", count, one)
    count = k.select(k.compare("oeq", count, k.number(0)), k.number(1), count)
    share = k.op("fdiv", k.load(slope, [number, c]), count)
    for (row, column), one in zip(elements, ones, strict=True):
        before = k.load(target, [row, column])
        k.store(target, [row, column], k.op("fadd", before, k.op("fmul", share, one)))
