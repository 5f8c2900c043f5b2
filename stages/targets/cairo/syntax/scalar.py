"""Functions of one number in fixed point, as Cairo and as the same arithmetic on Python's integers.

Exponentials and logarithms are polynomials, evaluated by Horner's rule: a felt holds several products before one must
be cut back to the working precision, which has four bits more than the format. Coefficients are Chebyshev's, from
mpmath.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

from recast.stages.targets.cairo.ir.fixed_point import Format
from recast.stages.targets.cairo.syntax.casm import PRIME

WORST_ERRORS = {"exp": 0.54, "ln": 0.86, "sigmoid": 1.0, "tanh": 1.5}
"""of FP16x16, in units of its last bit, and relative to results above 1: exp up to x = 11, ln from 2**-16 to 2**16, the
others everywhere. A result that is merely rounded is off by 0.5. Measured against Python's math; a test measures them
again"""
ROOM = 122
"""bits of a number that is to be cut: the offset that makes it positive takes the next ones"""
OFFSET = 126
LN_BITS = 64
"""a number is raised to this length before its logarithm is taken"""


def shifted(number: int, bits: int) -> int:
    """number / 2**bits, rounded to the nearest, ties towards plus infinity."""
    return (number + (1 << (bits - 1))) >> bits


def ratio(a: int, b: int) -> int:
    """a / b for a >= 0 and b > 0, rounded to the nearest, ties up."""
    return (2 * a + b) // (2 * b)


def divided(a: int, b: int) -> int:
    """a / b for b != 0, rounded to the nearest, ties away from zero."""
    size = ratio(abs(a), abs(b))
    return size if (a < 0) == (b < 0) else -size


def shift_text(bits: int) -> str:
    """`shift_BITS(x)`: the same for a felt of absolute value below 2**126."""
    mask = (1 << 128) - (1 << bits)
    start = (1 << OFFSET) + (1 << (bits - 1))
    return f"""\
#[inline(always)]
fn shift_{bits}(x: felt252) -> felt252 {{
    let (y, _, _) = bitwise(low(x + {start:#x}), {mask:#x});
    u128_to_felt252(y) * {pow(2, -bits, PRIME):#x} - {1 << (OFFSET - bits):#x}
}}
"""


@dataclass(frozen=True)
class Horner:
    """A polynomial on [0, 1): coefficients and argument have `bits` fraction bits, and so has the result."""

    coefficients: tuple[int, ...]
    """the highest power first"""
    bits: int

    def __call__(self, z: int) -> int:
        """The value at z, as the Cairo computes it."""
        value, scale = self.coefficients[0], self.bits
        for coefficient in self.coefficients[1:]:
            if scale + self.bits > ROOM - 2:
                value, scale = shifted(value, scale - self.bits), self.bits
            value = value * z + (coefficient << scale)
            scale += self.bits
        return shifted(value, scale - self.bits)

    def text(self, z: str) -> tuple[list[str], set[str]]:
        """Lines that leave the value in `p`, and the functions they call."""
        lines, needs, scale = [f"let p = {_number(self.coefficients[0])};"], set(), self.bits
        for coefficient in self.coefficients[1:]:
            if scale + self.bits > ROOM - 2:
                needs.add(f"shift_{scale - self.bits}")
                lines.append(f"let p = shift_{scale - self.bits}(p);")
                scale = self.bits
            lines.append(f"let p = p * {z} + {_number(coefficient << scale)};")
            scale += self.bits
        needs.add(f"shift_{scale - self.bits}")
        return [*lines, f"let p = shift_{scale - self.bits}(p);"], needs


def _number(number: int) -> str:
    return hex(number) if number >= 0 else f"(-{hex(-number)})"


def precision(fmt: Format) -> int:
    """Fraction bits the functions work with."""
    return fmt.fraction + 4


@cache
def _polynomial(kind: str, bits: int) -> Horner:
    """Of the least degree whose error is below 2**-(bits + 1)."""
    import mpmath

    functions: dict[str, Callable[[Any], Any]] = {
        "exp2": lambda z: mpmath.power(2, z),
        "ln1p": lambda z: mpmath.log(1 + z),
    }
    with mpmath.workprec(200):
        for terms in range(3, 40):
            coefficients, error = mpmath.chebyfit(functions[kind], [0, 1], terms, error=True)
            if error < mpmath.mpf(2) ** -(bits + 1):
                return Horner(tuple(int(mpmath.nint(one * 2**bits)) for one in coefficients), bits)
    raise AssertionError("a polynomial of 40 terms is exact enough for 36 bits")


@dataclass(frozen=True)
class Exponential:
    """e**x; 0 where that is below half a unit. x must be below integer bits * ln 2.

    Worst error 0.54 units of the last bit of FP16x16 up to x = 0, above that 0.54 * e**x.
    """

    fmt: Format

    @property
    def _log2e_bits(self) -> int:
        return precision(self.fmt) + 5

    @property
    def _log2e(self) -> int:
        import mpmath

        with mpmath.workprec(200):
            return int(mpmath.nint(mpmath.log(mpmath.e, 2) * 2**self._log2e_bits))

    @property
    def _lowest(self) -> int:
        """2**-lowest and less is 0."""
        return self.fmt.fraction + 2

    @property
    def _point(self) -> int:
        """Fraction bits of x * log2 e."""
        return self.fmt.fraction + self._log2e_bits

    @property
    def _start(self) -> int:
        return (self._lowest << self._point) + (1 << (self._point - precision(self.fmt) - 1))

    @property
    def _powers(self) -> int:
        """Bits of the whole part of x * log2 e + lowest."""
        return (self._lowest + self.fmt.integer).bit_length()

    def __call__(self, x: int) -> int:
        """raw x -> raw e**x, as the Cairo computes it."""
        work = precision(self.fmt)
        v = x * self._log2e + self._start
        if v < 0:
            return 0
        fraction = (v >> (self._point - work)) & ((1 << work) - 1)
        p = _polynomial("exp2", work)(fraction)
        p <<= (v >> self._point) & ((1 << self._powers) - 1)
        return shifted(p, self._lowest + work - self.fmt.fraction)

    def text(self) -> tuple[str, set[str]]:
        """`exp(x)`, and the functions it calls."""
        work = precision(self.fmt)
        cut = self._point - work
        polynomial, needs = _polynomial("exp2", work).text("z")
        last = self._lowest + work - self.fmt.fraction
        lines = [
            f"let (z, _, _) = bitwise(v, {((1 << work) - 1) << cut:#x});",
            f"let z = u128_to_felt252(z) * {pow(2, -cut, PRIME):#x};",
            *polynomial,
        ]
        for power in range(self._powers):
            place = self._point + power
            factor = ((1 << (1 << power)) - 1) * pow(2, -place, PRIME) % PRIME
            lines += [
                f"let (b, _, _) = bitwise(v, {1 << place:#x});",
                f"let p = p * (u128_to_felt252(b) * {factor:#x} + 1);",
            ]
        body = "\n".join(f"            {line}" for line in [*lines, f"shift_{last}(p)"])
        return (
            f"""\
// e^x. 0 where that is below 2^-{self._lowest}.
fn exp(x: felt252) -> felt252 {{
    match u128s_from_felt252(x * {self._log2e:#x} + {self._start:#x}) {{
        U128sFromFelt252Result::Narrow(v) => {{
{body}
        }},
        U128sFromFelt252Result::Wide((_, _)) => 0,
    }}
}}
""",
            {*needs, f"shift_{last}"},
        )


@dataclass(frozen=True)
class Logarithm:
    """ln x for raw 0 < x < 2**64. Worst error 0.86 units of the last bit of FP16x16."""

    fmt: Format

    @property
    def _ln2(self) -> int:
        import mpmath

        with mpmath.workprec(200):
            return int(mpmath.nint(mpmath.log(2) * 2 ** precision(self.fmt)))

    def __call__(self, x: int) -> int:
        """raw x -> raw ln x, as the Cairo computes it."""
        work = precision(self.fmt)
        raised = LN_BITS - x.bit_length()
        top = LN_BITS - 1
        z = ((x << raised) >> (top - work)) & ((1 << work) - 1)
        p = _polynomial("ln1p", work)(z)
        return shifted(p + (top - self.fmt.fraction - raised) * self._ln2, work - self.fmt.fraction)

    def text(self) -> tuple[str, set[str]]:
        """`ln(x)`, and the functions it calls."""
        work = precision(self.fmt)
        top = LN_BITS - 1
        cut = top - work
        polynomial, needs = _polynomial("ln1p", work).text("z")
        lines = ["let m = low(x);", f"let k = {top - self.fmt.fraction};"]
        for power in reversed(range(LN_BITS.bit_length() - 1)):
            by = 1 << power
            lines += [
                f"let (m, k) = match u128_overflowing_sub(m, {1 << (LN_BITS - by):#x}) {{",
                "    Result::Ok(_) => (m, k),",
                f"    Result::Err(_) => (low(u128_to_felt252(m) * {1 << by:#x}), k - {by}),",
                "};",
            ]
        lines += [
            f"let (z, _, _) = bitwise(m, {((1 << work) - 1) << cut:#x});",
            f"let z = u128_to_felt252(z) * {pow(2, -cut, PRIME):#x};",
            *polynomial,
            f"shift_{work - self.fmt.fraction}(p + k * {self._ln2:#x})",
        ]
        body = "\n".join(f"    {line}" for line in lines)
        text = f"// ln x for x > 0: x is raised to {LN_BITS} bits, which k counts.\nfn ln(x: felt252) -> felt252 {{\n"
        return f"{text}{body}\n}}\n", {*needs, f"shift_{work - self.fmt.fraction}", "low"}


def sigmoid(fmt: Format) -> Callable[[int], int]:
    """raw x -> raw 1 / (1 + e**-x), from e**-|x|. Worst error 1.0 units of the last bit of FP16x16."""
    power = Exponential(fmt)

    def value(x: int) -> int:
        e = power(-abs(x))
        return ratio((fmt.one if x >= 0 else e) << fmt.fraction, fmt.one + e)

    return value


def sigmoid_text(fmt: Format) -> str:
    """`sigmoid(x)`."""
    return f"""\
// 1 / (1 + e^-x), from e^-|x|.
fn sigmoid(x: felt252) -> felt252 {{
    match u128s_from_felt252(x) {{
        U128sFromFelt252Result::Narrow(_) => ratio({fmt.one << fmt.fraction:#x}, {fmt.one:#x} + exp(0 - x)),
        U128sFromFelt252Result::Wide((_, _)) => {{
            let e = exp(x);
            ratio(e * {fmt.one:#x}, {fmt.one:#x} + e)
        }},
    }}
}}
"""


def hyperbolic_tangent(fmt: Format) -> Callable[[int], int]:
    """raw x -> raw tanh x = (1 - e**-2|x|) / (1 + e**-2|x|) with the sign of x. Worst error 1.5 units of FP16x16."""
    power = Exponential(fmt)

    def value(x: int) -> int:
        e = power(-2 * abs(x))
        size = ratio((fmt.one - e) << fmt.fraction, fmt.one + e)
        return size if x >= 0 else -size

    return value


def hyperbolic_tangent_text(fmt: Format) -> str:
    """`tanh(x)`."""
    return f"""\
// The tangent of a number that is not negative, from e^-2x.
fn upper_tanh(x: felt252) -> felt252 {{
    let e = exp(0 - x - x);
    ratio(({fmt.one:#x} - e) * {fmt.one:#x}, {fmt.one:#x} + e)
}}

fn tanh(x: felt252) -> felt252 {{
    match u128s_from_felt252(x) {{
        U128sFromFelt252Result::Narrow(_) => upper_tanh(x),
        U128sFromFelt252Result::Wide((_, _)) => 0 - upper_tanh(0 - x),
    }}
}}
"""
