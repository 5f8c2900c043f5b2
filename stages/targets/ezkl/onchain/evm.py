"""Run the Solidity verifier's deployed code on a local Ethereum virtual machine (py-evm, by the rules of Prague)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recast.stages.base import StageError

WORD = 32
GAS_LIMIT = 200_000_000
TRANSACTION_GAS = 21_000
ZERO_BYTE_GAS, OTHER_BYTE_GAS = 4, 16
"""of calldata: Ethereum Yellow Paper, appendix G, with EIP-2028"""
FLOOR_TOKEN_GAS, OTHER_BYTE_TOKENS = 10, 4
"""least price of calldata since Prague: EIP-7623"""


@dataclass(frozen=True)
class Outcome:
    """Whether the contract said yes, and the gas its execution took, calldata and transaction not counted."""

    accepted: bool
    execution_gas: int


class Machine:
    """A chain of one block on which the contract stands; EIP-170's limit does not apply to it."""

    def __init__(self, code: bytes) -> None:
        """`code`: what stands on the chain, as verifier.bin has it in hexadecimal."""
        from eth import constants
        from eth.chains.base import MiningChain
        from eth.db.atomic import AtomicDB
        from eth.vm.forks.prague import PragueVM

        self._code = code
        chain = MiningChain.configure("Local", vm_configuration=((constants.GENESIS_BLOCK_NUMBER, PragueVM),))
        params: dict[str, Any] = {"difficulty": 0, "gas_limit": GAS_LIMIT, "timestamp": 1}
        self._vm = chain.from_genesis(AtomicDB(), params, {}).get_vm()

    def call(self, calldata: bytes) -> Outcome:
        """Call the contract; it accepts if it returns true, and not if it reverts or returns anything else."""
        address = b"\x01" * 20
        computation = self._vm.execute_bytecode(
            origin=b"\x02" * 20,
            gas_price=0,
            gas=GAS_LIMIT,
            to=address,
            sender=b"\x02" * 20,
            value=0,
            data=calldata,
            code=self._code,
        )
        accepted = computation.is_success and computation.output == (1).to_bytes(32, "big")
        return Outcome(bool(accepted), int(computation.get_gas_used()))


def read_code(path: Path) -> bytes:
    """The code in verifier.bin; StageError if it is damaged."""
    try:
        return bytes.fromhex(path.read_text(encoding="utf-8").strip())
    except (OSError, ValueError) as error:
        raise StageError(f"cannot read {path.name}: {error}", "run emit again") from error


def calldata(proof: bytes, instances: Sequence[int]) -> bytes:
    """What `verifyProof(bytes,uint256[])` is called with, in Solidity's ABI."""
    from eth_utils.crypto import keccak

    padded = proof + bytes(-len(proof) % WORD)
    words = [2 * WORD, 3 * WORD + len(padded), len(proof)]
    selector: bytes = keccak(text="verifyProof(bytes,uint256[])")[:4]
    return selector + b"".join(map(_word, words)) + padded + b"".join(map(_word, [len(instances), *instances]))


def most_gas(proof: bytes, instances: Sequence[int], execution: int) -> int:
    """Gas of a transaction at most: with every byte of the proof counted as other than zero.

    So the figure does not vary with the randomness in a proof.
    """
    call = calldata(b"\xff" * len(proof), instances)
    zeros = call.count(0)
    other = len(call) - zeros
    usual = TRANSACTION_GAS + ZERO_BYTE_GAS * zeros + OTHER_BYTE_GAS * other + execution
    return max(usual, TRANSACTION_GAS + FLOOR_TOKEN_GAS * (zeros + OTHER_BYTE_TOKENS * other))


def _word(value: int) -> bytes:
    return value.to_bytes(WORD, "big")
