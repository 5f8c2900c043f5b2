"""`recast prove RECIPE/ezkl INPUT -o PROOF`: a proof that the circuit gives its scores for an input.

The input stays here: it and the witness lie in a folder that is deleted, and the proof does not hold them unless the
recipe makes the input public. What EZKL prints goes to `.recast/logs/prove.log`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from recast.stages.base import StageError
from recast.stages.common.argument_types import amount, positive
from recast.stages.targets.ezkl.keys import keys, licence, srs
from recast.stages.targets.ezkl.keys.local_store import log_of, written_whole
from recast.stages.targets.ezkl.proof import samples
from recast.stages.targets.ezkl.proof.prover import Prover
from recast.stages.verb import Artifacts, Verb


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes after RECIPE/TARGET."""
    parser.add_argument("input", metavar="INPUT", help="one sample as stored: .npz (array x), .json or an image")
    parser.add_argument("-o", "--output", metavar="PROOF", required=True, help="file the proof is written to")
    parser.add_argument("--binarise", action="store_true", help="round the input's pixels to black or white")
    parser.add_argument("--threads", type=positive, default=2, metavar="N", help="threads to prove with (default: 2)")
    parser.add_argument("--timeout", type=amount, metavar="SECONDS", help="of a call of EZKL; default: generous")
    parser.add_argument("--memory", type=amount, metavar="GIB", help="memory EZKL may take; default: no limit")


def run(options: Mapping[str, Any], artifacts: Artifacts | None) -> None:
    """Read the input, prove, check the proof, write it. Raises StageError."""
    from recast.stages.common.dataset import read_contract

    assert artifacts is not None, "the verb reads emit"
    emitted, output = artifacts.directories["emit"], Path(options["output"]).absolute()
    if not output.parent.is_dir():
        raise StageError(
            f"there is no folder {output.parent} to write the proof to", "create it, or choose another place"
        )
    keys.require_circuit(emitted, artifacts.address)
    contract, source = read_contract(emitted), Path(options["input"])
    sample = samples.read(source, contract)
    if options["binarise"] or samples.is_black_and_white(emitted):
        sample = samples.black_and_white(sample, options["binarise"], source.name)
    prover = Prover(emitted, artifacts.local, options["threads"], options["timeout"], options["memory"])
    licence.show_once(artifacts.local, partial(print, file=sys.stderr))
    with log_of("prove", artifacts.local) as log:
        made = prover.prove(sample, log=log)
    with written_whole(output) as half:
        made.proof.write(half)
    print(
        f"wrote {options['output']}: proved in {made.seconds:.1f} s, with {made.peak_bytes / 2**20:.0f} MiB of memory"
    )
    if made.proof.insecure:
        print(srs.WARNING)


VERB = Verb(
    arguments,
    run,
    reads=("emit",),
    example="recast prove mnist_mlp_ezkl/ezkl image.png -o proof.json",
    more="The input and all that is computed from it stay on this machine.",
)
