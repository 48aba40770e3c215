"""Elementwise operations on single numbers, as LLVM code: what fused loops are made of.

exp, log, tanh and erf in float32 are polynomials written here, so that they vectorise; in float64
the C library is called.  Sources of the coefficients: Cephes (Moshier) for expf and logf; the
rational function for erff is Eigen's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from nnad.compiler.native.ir import Kernel, Unsupported
from nnad.compiler.program import Instruction, Value

Emit = Callable[..., str]


def _binary(name: str) -> Emit:
    return lambda k, a, b: k.op(name, a, b)


def _intrinsic(name: str) -> Emit:
    return lambda k, *args: k.call(_suffixed(k, name), *args)


def _suffixed(k: Kernel, name: str) -> str:
    return f"{name}.{'f32' if k.type == 'float' else 'f64'}"


def _function(name: str) -> Emit:
    """exp, log, tanh, erf: our own in float32, the C library's in float64."""
    return lambda k, x: k.call(f"nnad_{name}_f32" if k.type == "float" else name, x)


def _maximum(k: Kernel, a: str, b: str) -> str:
    """As NumPy: NaN where either is."""
    larger = k.select(k.compare("ogt", a, b), a, b)
    return k.select(k.compare("uno", a, a), a, larger)


def _minimum(k: Kernel, a: str, b: str) -> str:
    smaller = k.select(k.compare("olt", a, b), a, b)
    return k.select(k.compare("uno", a, a), a, smaller)


def _sigmoid(k: Kernel, x: str) -> str:
    e = _function("exp")(k, k.emit(f"fneg {k.type} {x}"))
    return k.op("fdiv", k.number(1), k.op("fadd", k.number(1), e))


def _silu(k: Kernel, x: str) -> str:
    return k.op("fmul", x, _sigmoid(k, x))


def _sign(k: Kernel, x: str) -> str:
    one, minus, zero = k.number(1), k.number(-1), k.number(0)
    signed = k.select(k.compare("ogt", x, zero), one, minus)
    return k.select(k.compare("oeq", x, zero), x, signed)


def _reciprocal_or_zero(k: Kernel, x: str) -> str:
    zero = k.compare("oeq", x, k.number(0))
    safe = k.select(zero, k.number(1), x)
    return k.select(zero, k.number(0), k.op("fdiv", k.number(1), safe))


def _relu(k: Kernel, x: str) -> str:
    return k.select(k.compare("ule", x, k.number(0)), _nan_or_zero(k, x), x)


def _nan_or_zero(k: Kernel, x: str) -> str:
    return k.select(k.compare("uno", x, x), x, k.number(0))


def _power(k: Kernel, x: str, y: Any) -> str:
    """x ** y for the small constant exponents that occur in networks."""
    if not isinstance(y, (int, float)):
        raise Unsupported("a power with a varying exponent")
    if y in (1, 2, 3, 4):
        result = x
        for _ in range(int(y) - 1):
            result = k.op("fmul", result, x)
        return result
    if y == 0.5:
        return _intrinsic("llvm.sqrt")(k, x)
    if y == -1:
        return k.op("fdiv", k.number(1), x)
    raise Unsupported(f"power {y}")


FLOAT: dict[str, Callable[..., Any]] = {
    "add": _binary("fadd"),
    "subtract": _binary("fsub"),
    "multiply": _binary("fmul"),
    "divide": _binary("fdiv"),
    "negative": lambda k, x: k.emit(f"fneg {k.type} {x}"),
    "positive": lambda k, x: x,
    "identity": lambda k, x: x,
    "square": lambda k, x: k.op("fmul", x, x),
    "sqrt": _intrinsic("llvm.sqrt"),
    "absolute": _intrinsic("llvm.fabs"),
    "reciprocal": lambda k, x: k.op("fdiv", k.number(1), x),
    "reciprocal_or_zero": _reciprocal_or_zero,
    "maximum": _maximum,
    "minimum": _minimum,
    "exp": _function("exp"),
    "log": _function("log"),
    "tanh": _function("tanh"),
    "erf": _function("erf"),
    "sigmoid": _sigmoid,
    "expit": _sigmoid,
    "silu": _silu,
    "sign": _sign,
    "relu": _relu,
    "power": _power,
}
COMPARISONS = {
    "equal": "oeq",
    "not_equal": "une",
    "less": "olt",
    "less_equal": "ole",
    "greater": "ogt",
    "greater_equal": "oge",
}


def _normal_cdf(k: Kernel, x: str) -> str:
    scaled = k.op("fmul", x, k.number(0.5**0.5))
    return k.op("fmul", k.number(0.5), k.op("fadd", k.number(1), _function("erf")(k, scaled)))


def _cubic(k: Kernel, x: str) -> str:
    """sqrt(2/pi) (x + 0.044715 x**3): what the approximate GELU takes the tanh of."""
    cube = k.op("fmul", k.op("fmul", x, x), x)
    inner = k.op("fadd", x, k.op("fmul", k.number(0.044715), cube))
    return k.op("fmul", k.number((2 / math.pi) ** 0.5), inner)


def _gelu(k: Kernel, x: str, *, approximate: str = "none") -> tuple[str, str]:
    """GELU, and what its slope is made of."""
    if approximate == "tanh":
        t = _function("tanh")(k, _cubic(k, x))
        half = k.op("fmul", k.number(0.5), x)
        return k.op("fmul", half, k.op("fadd", k.number(1), t)), t
    cdf = _normal_cdf(k, x)
    return k.op("fmul", x, cdf), cdf


def _gelu_slope(k: Kernel, x: str, inner: str, *, approximate: str = "none") -> str:
    square = k.op("fmul", x, x)
    if approximate == "tanh":
        one = k.number(1)
        root = (2 / math.pi) ** 0.5
        slope = k.op("fmul", k.number(3 * 0.044715 * root), square)
        slope = k.op("fmul", x, k.op("fadd", slope, k.number(root)))
        slope = k.op("fmul", slope, k.op("fsub", one, k.op("fmul", inner, inner)))
        return k.op("fmul", k.number(0.5), k.op("fadd", k.op("fadd", slope, inner), one))
    density = _function("exp")(k, k.op("fmul", square, k.number(-0.5)))
    density = k.op("fmul", density, k.number(1 / math.sqrt(2 * math.pi)))
    return k.op("fadd", inner, k.op("fmul", x, density))


FLOAT |= {"normal_cdf": _normal_cdf, "gelu": _gelu, "gelu_slope": _gelu_slope}
LOGICAL = {"logical_and": "and", "logical_or": "or", "logical_xor": "xor"}


def is_scalar_operation(instruction: Instruction) -> bool:
    """Whether an instruction can be part of a fused loop."""
    name = instruction.name
    if instruction.primitive is None or instruction.has_effect or not instruction.outputs:
        return False
    if name not in FLOAT and name not in COMPARISONS and name not in ("where", "astype"):
        return False
    arrays = [v.dtype for v in (*instruction.inputs(), *instruction.outputs)]
    floats = {t for t in arrays if t != np.bool_}
    shapes = {v.shape for v in instruction.outputs}
    if len(floats) > 1 or not floats <= {np.dtype("f4"), np.dtype("f8")} or len(shapes) > 1:
        return False
    constants = [a for a in instruction.args if not isinstance(a, Value)]
    numbers = all(isinstance(a, (int, float, np.floating, np.bool_)) for a in constants)
    return (
        numbers
        and bool(floats)
        and (
            name != "power"
            or (len(constants) == 1 and instruction.args[1] in (-1, 0.5, 1, 2, 3, 4))
        )
    )


class Scalars:
    """Evaluates the body of a group at one index.

    Args:
        kernel: written into.
        load: gives the register of an input value at the index.
    """

    def __init__(self, kernel: Kernel, load: Callable[[Value], str]) -> None:
        self.kernel = kernel
        self.load = load
        self.known: dict[Value, str] = {}

    def run(self, body: list[Instruction]) -> None:
        """Compute every value of `body`."""
        for instruction in body:
            result = self._result(instruction)
            results = result if isinstance(result, tuple) else (result,)
            self.known.update(zip(instruction.outputs, results, strict=True))

    def _result(self, instruction: Instruction) -> Any:
        k, name, args = self.kernel, instruction.name, instruction.args
        if name in COMPARISONS:
            return k.compare(COMPARISONS[name], self.number(args[0]), self.number(args[1]))
        if name == "where":
            return k.select(self.truth(args[0]), self.number(args[1]), self.number(args[2]))
        if name == "astype":
            if instruction.outputs[0].dtype == np.bool_:
                return self.truth(args[0])
            return self.number(args[0])
        if name == "power":
            return FLOAT[name](k, self.number(args[0]), float(args[1]))
        return FLOAT[name](k, *(self.number(a) for a in args), **instruction.kwargs)

    def register(self, value: Value) -> str:
        """The register of a value: an i1 for booleans."""
        if value not in self.known:
            register = self.load(value)
            if value.dtype == np.bool_:
                register = self.kernel.emit(f"icmp ne i8 {register}, 0")
            self.known[value] = register
        return self.known[value]

    def number(self, item: Any) -> str:
        """A floating-point register or constant."""
        if not isinstance(item, Value):
            return self.kernel.number(float(item))
        register = self.register(item)
        if item.dtype == np.bool_:
            return self.kernel.emit(f"uitofp i1 {register} to {self.kernel.type}")
        return register

    def truth(self, item: Any) -> str:
        """An i1."""
        if isinstance(item, Value) and item.dtype == np.bool_:
            return self.register(item)
        return self.kernel.compare("une", self.number(item), self.kernel.number(0))


PRELUDE = """
declare float @llvm.floor.f32(float)
declare float @llvm.fabs.f32(float)
declare float @llvm.sqrt.f32(float)
declare float @llvm.copysign.f32(float, float)
declare double @llvm.fabs.f64(double)
declare double @llvm.sqrt.f64(double)
declare double @exp(double)
declare double @log(double)
declare double @tanh(double)
declare double @erf(double)
"""


def _polynomial(k: Kernel, x: str, coefficients: Sequence[float]) -> str:
    """Horner's scheme, highest power first."""
    value = k.number(coefficients[0])
    for c in coefficients[1:]:
        value = k.op("fadd", k.op("fmul", value, x), k.number(c))
    return value


def _exp_body(k: Kernel, x: str) -> str:
    low, high = k.number(-87.33654), k.number(88.72283)
    clipped = k.select(k.compare("olt", x, low), low, x)
    clipped = k.select(k.compare("ogt", clipped, high), high, clipped)
    n = k.call(
        "llvm.floor.f32",
        k.op("fadd", k.op("fmul", clipped, k.number(1.44269504088896341)), k.number(0.5)),
    )
    r = k.op("fsub", clipped, k.op("fmul", n, k.number(0.693359375)))
    r = k.op("fadd", r, k.op("fmul", n, k.number(2.12194440e-4)))
    series = _polynomial(
        k,
        r,
        [1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 0.5],
    )
    value = k.op("fadd", k.op("fmul", series, k.op("fmul", r, r)), k.op("fadd", r, k.number(1)))
    half = k.emit(f"fptosi float {n} to i32")
    first = k.emit(f"ashr i32 {half}, 1")
    for part in (first, k.emit(f"sub i32 {half}, {first}")):
        bits = k.emit(f"shl i32 {k.emit(f'add i32 {part}, 127')}, 23")
        value = k.op("fmul", value, k.emit(f"bitcast i32 {bits} to float"))
    value = k.select(k.compare("ogt", x, high), k.number(float("inf")), value)
    value = k.select(k.compare("olt", x, k.number(-104.0)), k.number(0), value)
    return k.select(k.compare("uno", x, x), x, value)


def _log_body(k: Kernel, x: str) -> str:
    bits = k.emit(f"bitcast float {x} to i32")
    tiny = k.compare("olt", x, k.number(1.17549435e-38))
    scaled = k.emit(f"bitcast float {k.op('fmul', x, k.number(8388608.0))} to i32")
    bits = k.select(tiny, scaled, bits, type_="i32")
    exponent = k.emit(f"sub i32 {k.emit(f'lshr i32 {bits}, 23')}, 126")
    exponent = k.select(tiny, k.emit(f"sub i32 {exponent}, 23"), exponent, type_="i32")
    mantissa_bits = k.emit(f"or i32 {k.emit(f'and i32 {bits}, 8388607')}, 1056964608")
    m = k.emit(f"bitcast i32 {mantissa_bits} to float")
    e = k.emit(f"sitofp i32 {exponent} to float")
    small = k.compare("olt", m, k.number(0.707106781186547524))
    e = k.select(small, k.op("fsub", e, k.number(1)), e)
    m = k.op("fsub", k.select(small, k.op("fadd", m, m), m), k.number(1))
    series = _polynomial(
        k,
        m,
        [
            7.0376836292e-2,
            -1.1514610310e-1,
            1.1676998740e-1,
            -1.2420140846e-1,
            1.4249322787e-1,
            -1.6668057665e-1,
            2.0000714765e-1,
            -2.4999993993e-1,
            3.3333331174e-1,
        ],
    )
    z = k.op("fmul", m, m)
    y = k.op("fmul", k.op("fmul", series, m), z)
    y = k.op("fadd", y, k.op("fmul", e, k.number(-2.12194440e-4)))
    y = k.op("fsub", y, k.op("fmul", z, k.number(0.5)))
    value = k.op("fadd", k.op("fadd", m, y), k.op("fmul", e, k.number(0.693359375)))
    infinity = k.number(float("inf"))
    value = k.select(k.compare("oeq", x, infinity), infinity, value)
    value = k.select(k.compare("oeq", x, k.number(0)), k.number(float("-inf")), value)
    value = k.select(k.compare("olt", x, k.number(0)), k.number(float("nan")), value)
    return k.select(k.compare("uno", x, x), x, value)


def _tanh_body(k: Kernel, x: str) -> str:
    magnitude = k.call("llvm.fabs.f32", x)
    e = k.call("nnad_exp_f32", k.op("fadd", magnitude, magnitude))
    large = k.op("fsub", k.number(1), k.op("fdiv", k.number(2), k.op("fadd", e, k.number(1))))
    large = k.call("llvm.copysign.f32", large, x)
    z = k.op("fmul", x, x)
    series = _polynomial(
        k,
        z,
        [
            -5.70498872745e-3,
            2.06390887954e-2,
            -5.37397155531e-2,
            1.33314422036e-1,
            -3.33332819422e-1,
        ],
    )
    small = k.op("fadd", x, k.op("fmul", k.op("fmul", series, z), x))
    return k.select(k.compare("olt", magnitude, k.number(0.625)), small, large)


def _erf_body(k: Kernel, x: str) -> str:
    high, low = k.number(4), k.number(-4)
    c = k.select(k.compare("ogt", x, high), high, x)
    c = k.select(k.compare("olt", c, low), low, c)
    z = k.op("fmul", c, c)
    top = _polynomial(
        k,
        z,
        [
            -2.72614225801306e-10,
            2.77068142495902e-08,
            -2.10102402082508e-06,
            -5.69250639462346e-05,
            -7.34990630326855e-04,
            -2.95459980854025e-03,
            -1.60960333262415e-02,
        ],
    )
    bottom = _polynomial(
        k,
        z,
        [
            -1.45660718464996e-05,
            -2.13374055278905e-04,
            -1.68282697438203e-03,
            -7.37332916720468e-03,
            -1.42647390514189e-02,
        ],
    )
    return k.op("fdiv", k.op("fmul", c, top), bottom)


def functions() -> str:
    """IR of the float32 functions that kernels call; LLVM inlines them into the loops."""
    bodies = {"exp": _exp_body, "log": _log_body, "tanh": _tanh_body, "erf": _erf_body}
    texts = [PRELUDE]
    for name, body in bodies.items():
        k = Kernel(name)
        result = body(k, "%x")
        texts.append(
            f"define internal float @nnad_{name}_f32(float %x) alwaysinline nounwind {{\n"
            + "\n".join(k.lines)
            + f"\n  ret float {result}\n}}\n"
        )
    return "\n".join(texts)
