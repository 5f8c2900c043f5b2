from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.lib.ezkl import circuits
from tests.lib.onnx_models import Workplace


@pytest.fixture(scope="session", autouse=True)
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One local store for all tests, so that SRS, keys and compiler are made once."""
    folder = tmp_path_factory.getbasetemp() / ".recast" / "local"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture(scope="session")
def mlp(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    """A circuit of a small network; tests that write take a copy."""
    return circuits.emitted(tmp_path_factory.mktemp("mlp"), circuits.mlp())


@pytest.fixture(scope="session")
def contract(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    """The same with its Solidity verifier."""
    if shutil.which("npm") is None:
        pytest.skip("the Solidity compiler comes by npm, which is not installed")
    return circuits.emitted(tmp_path_factory.mktemp("contract"), circuits.mlp(), {"optimize": "onchain"}, evm=True)


@pytest.fixture(scope="session")
def sigmoid(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    """A circuit with a lookup."""
    return circuits.emitted(tmp_path_factory.mktemp("sigmoid"), circuits.with_sigmoid())
