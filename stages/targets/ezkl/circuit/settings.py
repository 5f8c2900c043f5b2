"""EZKL's settings of a circuit, made canonical, and what can be read from them.

EZKL writes the time and lists in random order into its settings, and both change the keys. With the lists sorted and
the time zero, the same settings, model and SRS give the same keys. It also lists every sum of products (einsum) of the
circuit, and reserves columns for each in case it is checked at a random point (Freivalds), though most are not: only
those that are stay in the list, which makes the circuit a third smaller and constrains it no less.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from recast.stages.base import StageError

FILE = "settings.json"
NETWORK = "network.onnx"
ORDER = 21888242871839275222246405745257275088548364400416034343698204186575808495617
"""of BN254's group: an element of the field is a number modulo this; above half of it stand the negative numbers"""
FELT_BYTES = 32
PARTS = ("input", "param", "output")
"""what has a visibility, in the order in which EZKL hashes and commits"""


@dataclass(frozen=True)
class Settings:
    """The settings of one circuit, as `raw` says them."""

    raw: Mapping[str, Any]

    @property
    def logrows(self) -> int:
        """k: the circuit has 2^k rows."""
        return int(self.raw["run_args"]["logrows"])

    @property
    def rows(self) -> int:
        """Rows the model needs; the circuit has as many blocks of columns side by side as they take."""
        return int(self.raw["num_rows"])

    @property
    def largest_table(self) -> int:
        """Rows of the largest table of a lookup or a range check, or of values that are looked up by index.

        They must fit into one column.
        """
        args = self.raw["run_args"]
        ranges = [*self.raw["required_range_checks"], *([args["lookup_range"]] if self.raw["required_lookups"] else [])]
        return max(1, int(self.raw["max_dynamic_input_len"]), *(int(high) - int(low) + 1 for low, high in ranges))

    @property
    def einsum_cells(self) -> int:
        """Cells of the products that are checked at a random point, which have columns of their own."""
        return int(self.raw["einsum_params"]["total_einsum_col_size"])

    @property
    def inner_columns(self) -> int:
        """Columns that one block of the circuit is wide."""
        return int(self.raw["run_args"]["num_inner_cols"])

    @property
    def output_scale(self) -> float:
        """An output is this times the score."""
        return float(2 ** int(self.raw["model_output_scales"][0]))

    def visibility(self, part: str) -> str:
        """Of `part`, one of PARTS: private, public, fixed, hashed or polycommit."""
        word = self.raw["run_args"][f"{part}_visibility"]
        # {"Hashed": {...}} says how as well
        said = str(word if isinstance(word, str) else next(iter(word))).lower()
        return "polycommit" if said == "kzgcommit" else said

    @property
    def committed(self) -> tuple[str, ...]:
        """The parts of which a proof holds commitments."""
        return tuple(part for part in PARTS if self.visibility(part) == "polycommit")

    @property
    def commits(self) -> bool:
        """Whether its proofs hold commitments, or show a hash of the weights (`statement`)."""
        return bool(self.committed) or self.visibility("param") == "hashed"

    @property
    def hash_rows(self) -> int:
        """Rows that hashing takes, which are not laid out in blocks; 0 if nothing is hashed."""
        return int(self.raw["module_sizes"]["poseidon"][0])

    @property
    def instances(self) -> int:
        """How many numbers a proof makes public."""
        hashes = sum(self.raw["module_sizes"]["poseidon"][1])
        return int(hashes + sum(prod(shape) for shape in self.raw["model_instance_shapes"]))

    @property
    def largest_input(self) -> float:
        """Inputs this large or larger have no decomposition, and no proof."""
        args = self.raw["run_args"]
        return float(args["decomp_base"] ** args["decomp_legs"] / 2 / 2 ** int(args["input_scale"]))

    def scores(self, felts: Sequence[str]) -> list[float]:
        """Elements of the field, each as 64 hexadecimal digits, little-endian -> scores."""
        return [signed(felt) / self.output_scale for felt in felts]

    def write(self, path: Path) -> None:
        """The same settings give the same bytes."""
        path.write_text(json.dumps(self.raw, sort_keys=True, indent=1) + "\n", encoding="utf-8")


def read(path: Path) -> Settings:
    """What EZKL wrote, made canonical; StageError if it is damaged."""
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        for name in ("required_range_checks", "required_lookups"):
            raw[name] = sorted(raw[name], key=lambda entry: json.dumps(entry, sort_keys=True))
        equations = sorted((e for e in raw["einsum_params"]["equations"] if checked_at_random(*e)), key=json.dumps)
        settings = Settings({**raw, "timestamp": 0, "einsum_params": {**raw["einsum_params"], "equations": equations}})
        # what is read of it later, so that a damaged file is seen here
        _ = settings.logrows, settings.rows, settings.largest_table, settings.output_scale, settings.instances
        _ = settings.largest_input, settings.committed, settings.hash_rows, settings.einsum_cells
        _ = settings.inner_columns
    except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise StageError(
            f"cannot read the circuit's settings in {path.name}: {error!r}", "run calibrate again"
        ) from error
    return settings


def checked_at_random(equation: str, sizes: Mapping[str, int]) -> bool:
    """Whether EZKL checks the einsum `equation`, whose axes have these sizes, by Freivalds' algorithm.

    It does for a product of matrices: where two axes of the result or more come from one operand each.
    """
    operands, result = equation.split("->")
    free = [
        axis
        for axis in result
        if sizes.get(axis, 1) > 1 and sum(axis in operand for operand in operands.split(",")) == 1
    ]
    return len(free) >= 2


def signed(felt: str) -> int:
    """An element of the field as a number from -ORDER/2 to ORDER/2; StageError unless it is written canonically."""
    try:
        content = bytes.fromhex(felt)
    except ValueError:
        content = b""
    value = int.from_bytes(content, "little")
    if len(felt) != 2 * FELT_BYTES or len(content) != FELT_BYTES or value >= ORDER:
        raise StageError(
            f"{felt[:80]!r} is no element of the field: 64 hexadecimal digits, below its order",
            "give the file as it was written",
        )
    return value - ORDER if value > ORDER // 2 else value
