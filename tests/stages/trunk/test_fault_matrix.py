# environment: onnx
"""Every fault at every conversion of the onnxruntime target: blamed on its layer and conversion, and on no other."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.lib.branched_model import SITES as BRANCHED_SITES
from tests.lib.branched_model import branched
from tests.lib.deep_model import SITES as DEEP_SITES
from tests.lib.deep_model import deep, samples
from tests.lib.faults import FAULTS, Impossible, Matrix, Site, copy, in_float, in_int8
from tests.lib.onnxruntime_chain import forms, layers_at_fault, measured

CONVERSIONS = ("simplified", "prepared", "quantized", "emitted")
SEEDS = [0, 1, pytest.param(2, marks=pytest.mark.slow)]
NETWORKS: dict[str, tuple[Callable[[int], Any], Mapping[str, Site]]] = {
    "deep": (deep, DEEP_SITES),
    "branched": (branched, BRANCHED_SITES),
}


def matrix(sites: Mapping[str, Site]) -> Matrix:
    """A float conversion's fault is planted in what its tool is given; an int8 one's in the int8 graph itself."""
    made: Matrix = {}
    for fault in FAULTS:
        made |= {(fault, conversion): in_float(fault, sites[fault]) for conversion in ("simplified", "prepared")}
        made |= {(fault, conversion): in_int8(fault, sites[fault]) for conversion in ("quantized", "emitted")}
    return made


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, int], dict[str, Any]]:
    @functools.cache
    def of(network: str, seed: int) -> dict[str, Any]:
        return forms(NETWORKS[network][0](seed), tmp_path_factory.mktemp("chain"), samples(seed + 50, 64))

    return of


def faulty(
    right: dict[str, Any], fault: str, conversion: str, sites: Mapping[str, Site], folder: Path, seed: int
) -> Any:
    """The forms, wrong from the conversion on."""
    entry = matrix(sites)[fault, conversion]
    assert not isinstance(entry, Impossible)
    models = dict(right)
    later = list(models)[list(models).index(conversion) :]
    if conversion in ("quantized", "emitted"):
        wrong = copy(right[conversion])
        entry.plant(wrong)
        return models | dict.fromkeys(later, wrong)
    source = copy(right["exported"])
    entry.plant(source)
    wrong_forms = forms(source, folder, samples(seed + 50, 64))
    return models | {name: wrong_forms[name] for name in later}


@pytest.mark.parametrize("network", NETWORKS)
def test_the_matrix_is_whole(network: str) -> None:
    assert matrix(NETWORKS[network][1]).keys() == {
        (fault, conversion) for fault in FAULTS for conversion in CONVERSIONS
    }


@pytest.mark.parametrize("network", NETWORKS)
def test_what_cannot_be_planted_has_a_reason_that_holds(chain: Any, network: str) -> None:
    absent = {key: entry for key, entry in matrix(NETWORKS[network][1]).items() if isinstance(entry, Impossible)}
    assert {(fault, conversion) for fault, conversion in absent} == {
        ("saturating scale", conversion) for conversion in ("simplified", "prepared")
    }
    for (_, conversion), entry in absent.items():
        assert entry.reason and entry.lacks(chain(network, 0)[conversion])
        assert not entry.lacks(chain(network, 0)["quantized"])


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("network", NETWORKS)
def test_a_correct_model_is_never_blamed(chain: Any, network: str, seed: int) -> None:
    found = measured(chain(network, seed), samples(seed))
    assert list(found) == list(CONVERSIONS)
    assert {name: layers_at_fault(conversion) for name, conversion in found.items()} == dict.fromkeys(found, ())
    assert all(len(conversion.layers) >= 20 for conversion in found.values())


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("conversion", CONVERSIONS)
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("network", NETWORKS)
def test_a_fault_is_blamed_on_its_layer_and_its_hop(
    chain: Any, tmp_path: Path, network: str, fault: str, conversion: str, seed: int
) -> None:
    sites = NETWORKS[network][1]
    entry = matrix(sites)[fault, conversion]
    if isinstance(entry, Impossible):
        return  # its reason is tested above
    found = measured(faulty(chain(network, seed), fault, conversion, sites, tmp_path, seed), samples(seed))
    blamed = {name: layers_at_fault(one) for name, one in found.items()}
    assert entry.layer in blamed.pop(conversion), found[conversion].blamed
    # what is fused cannot be told apart, but nothing else may be blamed
    assert found[conversion].blamed is not None and len(found[conversion].blamed.covers) <= 2
    assert blamed == dict.fromkeys(blamed, ())
