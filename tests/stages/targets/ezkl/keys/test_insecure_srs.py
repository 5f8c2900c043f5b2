# environment: ezkl
from __future__ import annotations

from pathlib import Path

from recast.stages.targets.ezkl.keys import insecure_srs
from recast.stages.targets.ezkl.keys.insecure_srs import FIELD, ORDER, SECRET

LOGROWS = 4
FROM_MONTGOMERY = pow(2, -256, FIELD)


def numbers(content: bytes) -> list[int]:
    return [
        int.from_bytes(content[at : at + 32], "little") * FROM_MONTGOMERY % FIELD for at in range(0, len(content), 32)
    ]


def test_it_holds_the_powers_of_the_secret_and_the_lagrange_polynomials(tmp_path: Path) -> None:
    from py_ecc.optimized_bn128 import FQ, G1, G2, add, b, eq, is_on_curve, multiply, normalize, pairing

    told: list[tuple[int, int]] = []
    insecure_srs.write(tmp_path / "srs", LOGROWS, lambda done, total: told.append((done, total)))
    content = (tmp_path / "srs").read_bytes()
    count = 2**LOGROWS
    assert len(content) == 4 + 128 * count + 256
    assert int.from_bytes(content[:4], "little") == LOGROWS
    assert told[-1] == (2 * count, 2 * count)
    values = numbers(content[4:-256])
    points = [(FQ(x), FQ(y), FQ(1)) for x, y in zip(values[::2], values[1::2], strict=True)]
    assert all(is_on_curve(point, b) for point in points)
    for power, point in enumerate(points[:count]):
        assert eq(point, multiply(G1, pow(SECRET, power, ORDER)))
    # the Lagrange polynomials of the values 1, and of the values w^i, are 1 and x
    root = pow(insecure_srs.MULTIPLICATIVE_GENERATOR, (ORDER - 1) >> LOGROWS, ORDER)
    assert pow(root, count, ORDER) == 1 != pow(root, count // 2, ORDER)
    ones, line = points[count], points[count]
    for power, point in enumerate(points[count + 1 :], 1):
        ones, line = add(ones, point), add(line, multiply(point, pow(root, power, ORDER)))
    assert eq(ones, G1)
    assert eq(line, points[1])
    # in the other group: the generator, and the secret times it
    tail = numbers(content[-256:])
    assert tail[:4] == [int(part) for coordinate in normalize(G2) for part in coordinate.coeffs]
    secret = tuple(type(G2[0])(tail[at : at + 2]) for at in (4, 6))
    assert pairing((*secret, type(G2[0]).one()), G1) == pairing(G2, points[1])


def test_it_is_the_same_each_time_and_a_smaller_one_is_its_beginning(tmp_path: Path) -> None:
    for name, logrows in (("first", 5), ("second", 5), ("small", 4)):
        insecure_srs.write(tmp_path / name, logrows, lambda done, total: None)
    assert (tmp_path / "first").read_bytes() == (tmp_path / "second").read_bytes()
    powers = (tmp_path / "first").read_bytes()[4 : 4 + 64 * 16]
    assert (tmp_path / "small").read_bytes()[4 : 4 + 64 * 16] == powers
