"""The README of the emitted folder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from recast.stages.targets.ezkl.circuit.cost import EIP_170_BYTES
from recast.stages.targets.ezkl.circuit.settings import Settings
from recast.stages.targets.ezkl.keys.srs import WARNING, Srs
from recast.stages.tasks import readme_text

if TYPE_CHECKING:
    from recast.stages.common.dataset import Contract

TEXT = """\
# {dataset}: a circuit of 2^{logrows} rows for EZKL 23.0.5
{warning}
A proof says: the scores it shows are what this network gives for an input its maker knows. Visibility: input
{input}, weights {weights}, scores {output}.

| file | holds |
|---|---|
| `vk.key` | the verification key |
| `settings.json` | EZKL's settings of the circuit, canonical |
| `network.onnx` | the network the circuit is compiled from |
| `srs.json` | which structured reference string the keys rest on |
| `input.json` | the contract: how a stored sample becomes the input, (N, {shape}), and what the outputs are |
{evm}
`recast prove RECIPE/ezkl INPUT -o PROOF` makes a proof, `recast check-proof PROOF` checks one. The proving key is not
here: it is rebuilt where it is missing.

Read what a proof says from its instances alone: EZKL checks nothing else of its file. They are, as far as there are
any, the hash of the input, that of the weights, the numbers of the input, the scores and the hash of the scores. A
score stands there times {scale:g}, as a number modulo the order of BN254's group (above half of it: negative). The
scores are the outputs (N, {outputs}), flat: {meaning}.
"""
COMMITTED = """
`commitments.json` holds the hash or the commitments of this network's weights, which a proof must show, and how many
points at the head of a proof are commitments to what. Hashes and commitments are not blinded: who guesses the numbers
can see that he is right.
"""
EVM = """\
| `verifier.sol`, `verifier.abi` | the verifier as a contract: `verifyProof(bytes proof, uint256[] instances)` |
| `verifier.bin` | its deployed code, {size} bytes, {deployable} |
"""


def text(contract: Contract, circuit: Settings, record: Srs, made: Mapping[str, Any]) -> str:
    """What the folder holds, for whoever finds it."""
    evm = ""
    if "evm_code_bytes" in made:
        fits = (
            "which a chain takes"
            if made["evm_deployable"]
            else f"more than the {EIP_170_BYTES} a chain takes (EIP-170)"
        )
        evm = EVM.format(size=made["evm_code_bytes"], deployable=fits)
    return (TEXT + COMMITTED * circuit.commits).format(
        **readme_text.fields(contract, contract.outputs[0].shape),
        logrows=circuit.logrows,
        warning=f"\n**{WARNING}**\n" if record.insecure else "",
        input=circuit.visibility("input"),
        weights=circuit.visibility("param"),
        output=circuit.visibility("output"),
        scale=circuit.output_scale,
        evm=evm,
    )
