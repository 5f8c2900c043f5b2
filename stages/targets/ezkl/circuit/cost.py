"""What a circuit costs before it is paid for: memory, size of the proving key, time, and size of the EVM's verifier.

Fitted to runs of EZKL 23.0.5 on two cores that did nothing else: MLPs (k 9 to 15) and LeNets with sigmoids (k 13 to
18), the convolutions term by term and as products. What drives all of it is the number of columns: the model's rows are
laid out in as many blocks as 2^k rows make necessary, and each block has columns of its own; so do the products that
are checked at a random point. Sizes came within 10 % there; times depend on the machine.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

from recast.stages.base import StageError
from recast.stages.common.machine_memory import GIB, SHARE_OF_MEMORY, machine_memory
from recast.stages.targets.ezkl.circuit.settings import Settings

BLINDING_ROWS = 8
"""at most, which no value may use"""
FIELD_BYTES = 32
EIP_170_BYTES = 24_576
"""largest code of a contract on Ethereum (EIP-170)"""
LEAST_LOGROWS = 6
MOST_LOGROWS = 26
"""EZKL's own limit, and the largest public SRS"""


@dataclass(frozen=True)
class Cost:
    """A prediction; memory and sizes in bytes, times in seconds."""

    logrows: int
    rows: int
    blocks: int
    polynomials: int
    key: int
    memory: int
    setup: float
    prove: float
    code: int

    def __str__(self) -> str:
        return (
            f"k {self.logrows}, {self.rows} rows: about {self.memory / GIB:.2f} GiB of memory, a proving key of "
            f"{self.key / 2**20:.0f} MiB, {self.setup:.0f} s to set up, {self.prove:.0f} s to prove"
        )


def predict(settings: Settings, logrows: int | None = None) -> Cost:
    """The cost of the circuit, or of the same one with other logrows."""
    k = settings.logrows if logrows is None else logrows
    rows, wide = 2**k - BLINDING_ROWS, settings.inner_columns
    blocks = max(1, ceil(settings.rows / rows))
    products = ceil(settings.einsum_cells / (rows * wide))
    lookups = len(settings.raw["required_lookups"])
    # polynomials of 2^k coefficients in the key, each in the forms the prover keeps; from three columns on, the
    # degree of the gates makes them longer
    block = 10 + 38 * wide if wide <= 2 else 65 * wide
    of_model = 45 + block * blocks + lookups * (12 + (1 + 5 * wide) * blocks)
    of_products = products * (44 * wide + 38 * products)
    polynomials = of_model + of_products
    code = 700 + 94 * of_model + 110 * of_products
    if settings.hash_rows:  # the columns and constants of Poseidon
        polynomials, code = polynomials + 183, code + 4900
    key = polynomials * FIELD_BYTES * 2**k
    prove = 17 * key / 1e9 * (1 + of_model / 800) + 0.5
    return Cost(
        logrows=k,
        rows=settings.rows,
        blocks=blocks,
        polynomials=polynomials,
        key=key,
        memory=int(2.45 * key) + 30 * 2**20,
        setup=0.75 * prove,
        prove=prove,
        code=code,
    )


def possible_logrows(settings: Settings) -> range:
    """Every k from the least that the tables and the hashes allow to that at which the model is one block."""
    least = LEAST_LOGROWS
    while 2**least - BLINDING_ROWS < max(settings.largest_table, settings.hash_rows):
        least += 1
    most = least
    while predict(settings, most).blocks > 1 and most < MOST_LOGROWS:
        most += 1
    return range(least, most + 1)


def require_memory(settings: Settings, available: int | None = None) -> Cost:
    """The circuit's cost; StageError, naming the parameter that would make it fit, if `available` bytes are too few.

    None: all of this machine's.
    """
    cost = predict(settings)
    available = machine_memory() if available is None else available
    if cost.memory <= SHARE_OF_MEMORY * available:
        return cost
    smallest = min((predict(settings, k) for k in possible_logrows(settings)), key=lambda one: one.memory)
    fits = smallest.memory <= SHARE_OF_MEMORY * available
    remedy = (
        f"set calibrate.max_logrows to {smallest.logrows}, with which it takes about {smallest.memory / GIB:.2f} GiB"
        if fits
        else "use a smaller model: no calibrate.max_logrows makes it fit"
    )
    raise StageError(f"the circuit ({cost}) does not fit this machine's {available / GIB:.1f} GiB of memory", remedy)
