"""A structured reference string (SRS) whose secret is written here, so that anyone can forge what is proved with it.

For tests and trials. Unlike one drawn at random it is the same on every machine, and with it the keys. The file is
what EZKL reads: halo2's `ParamsKZG` in raw bytes, that is k (4 bytes), the powers of the secret and the Lagrange
polynomials at the secret, times the generator G1 (2^k points of 64 bytes each), and the generator G2 (128 bytes)
without and with the secret. Coordinates are little-endian, in Montgomery form.

Source of the curve: EIP-197 (alt_bn128). Source of the commitments: Kate, Zaverucha and Goldberg, "Constant-Size
Commitments to Polynomials and Their Applications", 2010.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeAlias

Point: TypeAlias = "tuple[int, int] | None"
"""affine coordinates on G1; None is the identity"""

FIELD = 21888242871839275222246405745257275088696311157297823662689037894645226208583
"""coordinates are numbers modulo this"""
ORDER = 21888242871839275222246405745257275088548364400416034343698204186575808495617
"""of the group, a prime: scalars are numbers modulo this"""
SECRET = int.from_bytes(hashlib.sha512(b"Recast: this secret is public").digest(), "little") % ORDER
G1 = (1, 2)
MULTIPLICATIVE_GENERATOR = 7
"""of the scalars, as halo2 chooses it; it fixes the root of unity the Lagrange polynomials are over"""
TWO_ADICITY = 28
"""2 to this divides ORDER - 1: there is no larger SRS"""
WINDOW = 10
"""bits of a scalar that one look into the table takes"""
CHUNK = 4096
"""points computed together, which share one modular inversion per addition"""


def write(path: Path, logrows: int, progress: Callable[[int, int], None]) -> None:
    """Write the SRS of 2^logrows points; `progress` is called with the points done and all points."""
    count = 1 << logrows
    table = _table()
    total, done = 2 * count, 0
    with path.open("wb") as file:
        file.write(logrows.to_bytes(4, "little"))
        for scalars in (_powers(count), _lagrange(logrows)):
            for chunk in _chunks(scalars):
                file.write(b"".join(_encoded(point) for point in _products(table, chunk)))
                done += len(chunk)
                progress(done, total)
        file.write(tail())


def _powers(count: int) -> Iterator[int]:
    power = 1
    for _ in range(count):
        yield power
        power = power * SECRET % ORDER


def _lagrange(logrows: int) -> Iterator[int]:
    """The i-th Lagrange polynomial over the powers of w at s: w^i (s^n - 1) / (n (s - w^i))."""
    count = 1 << logrows
    root = pow(MULTIPLICATIVE_GENERATOR, (ORDER - 1) >> logrows, ORDER)
    factor = (pow(SECRET, count, ORDER) - 1) * pow(count, -1, ORDER) % ORDER
    power = 1
    for _ in range(count):
        yield power * factor * pow(SECRET - power, -1, ORDER) % ORDER
        power = power * root % ORDER


def _chunks(scalars: Iterator[int]) -> Iterator[list[int]]:
    chunk: list[int] = []
    for scalar in scalars:
        chunk.append(scalar)
        if len(chunk) == CHUNK:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def _table() -> list[list[Point]]:
    """table[j][d] is d * 2^(j * WINDOW) times G1."""
    windows = -(-ORDER.bit_length() // WINDOW)
    bases: list[Point] = [G1]
    for _ in range(windows - 1):
        base = [bases[-1]]
        for _ in range(WINDOW):
            base = _sums(base, base)
        bases.extend(base)
    rows: list[list[Point]] = [[None] * windows]
    for _ in range((1 << WINDOW) - 1):
        rows.append(_sums(rows[-1], bases))
    return [[row[window] for row in rows] for window in range(windows)]


def _products(table: Sequence[Sequence[Point]], scalars: Sequence[int]) -> list[Point]:
    points: list[Point] = [None] * len(scalars)
    for window, multiples in enumerate(table):
        shift = window * WINDOW
        digits = ((scalar >> shift) & ((1 << WINDOW) - 1) for scalar in scalars)
        points = _sums(points, [multiples[digit] for digit in digits])
    return points


def _sums(left: Sequence[Point], right: Sequence[Point]) -> list[Point]:
    """Pairwise sums on y^2 = x^3 + 3, by the chord or the tangent; one inversion for all (Montgomery's trick)."""
    sums: list[Point] = []
    slopes: list[tuple[int, int, int, int, int]] = []  # where, x and y of the first, x of the second, numerator
    divisors: list[int] = []
    for a, b in zip(left, right, strict=True):
        if a is None or b is None:
            sums.append(b if a is None else a)
            continue
        (x, y), (u, v) = a, b
        if x != u:
            numerator, divisor = v - y, u - x
        elif (y + v) % FIELD:
            numerator, divisor = 3 * x * x, 2 * y
        else:
            sums.append(None)
            continue
        slopes.append((len(sums), x, y, u, numerator))
        divisors.append(divisor)
        sums.append(None)
    products = [1]
    for divisor in divisors:
        products.append(products[-1] * divisor % FIELD)
    inverse = pow(products[-1], -1, FIELD)
    for index in range(len(slopes) - 1, -1, -1):
        place, x, y, u, numerator = slopes[index]
        slope = numerator * inverse * products[index] % FIELD
        inverse = inverse * divisors[index] % FIELD
        w = (slope * slope - x - u) % FIELD
        sums[place] = (w, (slope * (x - w) - y) % FIELD)
    return sums


def _encoded(point: Point) -> bytes:
    return b"".join(_coordinate(value) for value in point or (0, 0))


def _coordinate(value: int) -> bytes:
    return (value * (1 << 256) % FIELD).to_bytes(32, "little")


def tail() -> bytes:
    """The end of the file, the same for every size: from it one sees which secret an SRS has."""
    from py_ecc.optimized_bn128 import G2, multiply, normalize

    points = (normalize(point) for point in (G2, multiply(G2, SECRET)))
    return b"".join(_coordinate(int(part)) for point in points for coordinate in point for part in coordinate.coeffs)
