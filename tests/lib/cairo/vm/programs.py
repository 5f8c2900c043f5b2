"""Small Cairo programs over the features that emitted code uses, and random ones over felts.

All are in one crate, since compiling is what takes time: the first felt of the call data chooses the program.
"""

from __future__ import annotations

import random
from pathlib import Path

from recast.stages.targets.cairo.syntax.casm import PRIME

HEAD = """\
use core::array::{ArrayTrait, SpanTrait};
use core::box::BoxTrait;
use core::integer::{bitwise, u128_safe_divmod, u128_wide_mul, u128s_from_felt252, U128sFromFelt252Result};
use core::option::{Option, OptionTrait};
use core::traits::{Into, TryInto};

#[derive(Copy, Drop)]
struct Row {
    a: felt252,
    b: felt252,
    c: felt252,
}

enum Shape {
    Dot: (),
    Line: felt252,
    Box: (felt252, felt252),
}

fn next(ref x: Span<felt252>) -> felt252 {
    *x.pop_front().unwrap()
}

fn flag(value: bool) -> felt252 {
    if value {
        1
    } else {
        0
    }
}
"""

PROGRAMS = {
    "sums in a loop": """
    let mut sum = 0;
    loop {
        match x.pop_front() {
            Option::Some(v) => { sum = sum * 3 + *v; },
            Option::None(_) => { break; },
        };
    };
    out.append(sum);""",
    "felts": """
    let a = next(ref x);
    let b = next(ref x);
    out.append(a + b);
    out.append(a - b);
    out.append(a * b);
    out.append(a * -7 + 12345678901234567890123456789);
    out.append(flag(a == b));
    out.append(core::felt252_div(a, b.try_into().unwrap()));""",
    "u128": """
    let a: u128 = next(ref x).try_into().unwrap();
    let b: u128 = next(ref x).try_into().unwrap();
    out.append(flag(a < b));
    out.append(flag(a <= b));
    out.append(flag(a == b));
    out.append((a / b).into());
    out.append((a % b).into());
    let (high, low) = u128_wide_mul(a, b);
    out.append(high.into());
    out.append(low.into());
    out.append((a | b).into());
    out.append((a & b).into());
    out.append((a ^ b).into());
    out.append((a - b).into());""",
    "u64 and u32": """
    let a: u64 = next(ref x).try_into().unwrap();
    let b: u64 = next(ref x).try_into().unwrap();
    out.append((a / b).into());
    out.append((a % b).into());
    out.append(flag(a > b));
    let c: u32 = (a % 65536).try_into().unwrap();
    let d: u32 = (b % 65536).try_into().unwrap();
    out.append((c + d).into());
    out.append((c * (d + 1)).into());
    let e: u8 = (c % 256).try_into().unwrap();
    out.append((e / 7).into());
    out.append((a * b).into());""",
    "floor and slots": """
    let a = next(ref x);
    match u128s_from_felt252(a) {
        U128sFromFelt252Result::Narrow(low) => {
            let (q, r) = u128_safe_divmod(low, 65536_u128.try_into().unwrap());
            out.append(q.into());
            out.append(r.into());
        },
        U128sFromFelt252Result::Wide((high, low)) => {
            let (and, xor, or) = bitwise(low, 0xffff0000ffff0000);
            out.append(high.into());
            out.append(and.into());
            out.append(xor.into());
            out.append(or.into());
        },
    }""",
    "arrays": """
    let mut rows: Array<Row> = ArrayTrait::new();
    let mut at = 0_u32;
    loop {
        if at + 2 >= x.len() {
            break;
        }
        rows.append(Row { a: *x.at(at), b: *x.at(at + 1), c: *x.at(at + 2) });
        at += 1;
    };
    let first = BoxTrait::new(Row { a: *x.at(0), b: 2, c: 3 });
    let second = BoxTrait::new(Row { a: 4, b: *x.at(1), c: 6 });
    let Row { a, b, c } = second.unbox();
    out.append(a + 10 * b + 100 * c);
    let Row { a, b, c } = first.unbox();
    out.append(a + 10 * b + 100 * c);
    let mut left = rows.span();
    loop {
        match left.pop_back() {
            Option::Some(row) => {
                let Row { a, b, c } = *row;
                out.append(a * b - c);
            },
            Option::None(_) => { break; },
        };
    };
    out.append(x.slice(1, 2).len().into());
    out.append(*rows.at(rows.len() - 1).b);
    match rows.pop_front() {
        Option::Some(row) => { out.append(row.c); },
        Option::None(_) => { out.append(0); },
    }
    out.append(*rows.at(next(ref x).try_into().unwrap()).a);""",
    "recursion": """
    out.append(fibonacci(next(ref x).try_into().unwrap()));
    out.append(area(Shape::Box((next(ref x), 3))) + area(Shape::Line(5)) + area(Shape::Dot(())));""",
    "panic of its own": """
    let mut data = ArrayTrait::new();
    data.append('out of range');
    data.append(next(ref x));
    panic(data);""",
}
BELOW = """
fn fibonacci(n: u32) -> felt252 {
    if n < 2 {
        n.into()
    } else {
        fibonacci(n - 1) + fibonacci(n - 2)
    }
}

fn area(shape: Shape) -> felt252 {
    match shape {
        Shape::Dot(_) => 0,
        Shape::Line(length) => length,
        Shape::Box((width, height)) => width * height,
    }
}
"""
EDGES = (0, 1, 2, 3, 65535, 65536, 2**32 - 1, 2**32, 2**63, 2**64 - 1, 2**64, 2**127, 2**128 - 1, 2**128, 2**192)
EDGES += (2**251, PRIME // 2, PRIME - 2**128, PRIME - 65536, PRIME - 1)


def random_program(seed: int) -> str:
    """Thirty operations on felts, each on earlier results or on a literal."""
    generator = random.Random(seed)
    lines = ["let v0 = next(ref x);", "let v1 = next(ref x);"]
    for index in range(2, 32):
        left, right = (f"v{generator.randrange(max(index - 6, 0), index)}" for _ in range(2))
        if generator.random() < 0.4:
            right = str(generator.choice((*EDGES, generator.randrange(PRIME))))
        lines.append(f"let v{index} = {left} {generator.choice('+-*')} {right};")
    return "\n    ".join([*lines, "out.append(v31);", "out.append(v30);"])


def write_crate(folder: Path, seeds: range) -> list[str]:
    """Write a workspace; the programs' names, in the order of their numbers."""
    bodies = {**PROGRAMS, **{f"random {seed}": random_program(seed) for seed in seeds}}
    text = HEAD + BELOW
    for number, body in enumerate(bodies.values()):
        text += f"\nfn program{number}(ref x: Span<felt252>) -> Array<felt252> {{\n    let mut out = ArrayTrait::new();"
        text += f"{body}\n    out\n}}\n"
    text += "\nfn main(data: Span<felt252>) -> Array<felt252> {\n    let mut x = data;\n    let number = next(ref x);\n"
    for number in range(len(bodies)):
        text += f"    if number == {number} {{\n        return program{number}(ref x);\n    }}\n"
    text += "    ArrayTrait::new()\n}\n"
    (folder / "src").mkdir(parents=True)
    (folder / "Scarb.toml").write_text('[package]\nname = "inference"\nversion = "0.1.0"\n', encoding="utf-8")
    (folder / "src" / "lib.cairo").write_text(text, encoding="utf-8")
    return list(bodies)
