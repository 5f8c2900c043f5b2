# environment: akida
"""Every fault at every hop of the akida target: blamed on its layer and its hop, and on no other."""

from __future__ import annotations

import copy as copying
import functools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stages import dataset, hops
from stages.akida import integer
from tests.stages.akida.akida_chain import Forms, forms, measured
from tests.stages.akida.akida_faults import has_no_scales, in_akida, in_integer, in_lowered
from tests.stages.akida.networks import NETWORKS, dense
from tests.stages.faults import FAULTS, Impossible, Matrix, copy
from tests.stages.onnx_models import write_data

HOPS = ("lowered", "quantized", "emitted")
SLOW = [("plain", "stored", 1), ("deep", "normalised", 1)]
CASES = [
    *[("plain", "stored", 0), ("plain", "normalised", 0), ("deep", "stored", 0)],
    *(pytest.param(*case, marks=pytest.mark.slow) for case in SLOW),
]
"""network, what its input is, seed"""


def matrix(network: str, integers: Any) -> Matrix:
    made: Matrix = {}
    for fault in FAULTS:
        site = NETWORKS[network].sites[fault]
        made[fault, "lowered"] = in_lowered(fault, site)
        made[fault, "quantized"] = in_integer(fault, site)
        made[fault, "emitted"] = in_akida(fault, site, integers)
    return made


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("akida") / "data")


@pytest.fixture(scope="module")
def chain(data: Path) -> Callable[[str, str, int], Forms]:
    return functools.cache(lambda network, takes, seed: forms(NETWORKS[network].make(seed), data, takes))


def found(of: Forms, data: Path) -> dict[str, hops.Hop]:
    return measured(of, dataset.read(data, "test")[0][:24])


def layers_at_fault(hop: hops.Hop) -> tuple[str, ...]:
    return () if hop.blamed is None else (*hop.blamed.covers, hop.blamed.layer)


def faulty(right: Forms, network: str, fault: str, hop: str, data: Path) -> Forms:
    """The forms, wrong from the hop on."""
    entry = matrix(network, right.quantized)[fault, hop]
    assert not isinstance(entry, Impossible)
    if hop == "lowered":
        source = copy(right.simplified)
        entry.plant(source)
        return replace(forms(source, data, right.takes), simplified=right.simplified)
    if hop == "quantized":
        integers = copy(right.quantized)
        entry.plant(integers)
        return replace(right, quantized=integers, emitted=integer.to_akida(integers).to_dict())
    emitted = copying.deepcopy(right.emitted)
    entry.plant(emitted)
    return replace(right, emitted=emitted)


@pytest.mark.parametrize("network", NETWORKS)
def test_the_matrix_is_whole_and_what_is_not_planted_has_a_reason_that_holds(chain: Any, network: str) -> None:
    right = chain(network, "stored", 0)
    entries = matrix(network, right.quantized)
    assert entries.keys() == {(fault, hop) for fault in FAULTS for hop in HOPS}
    absent = {key: entry for key, entry in entries.items() if isinstance(entry, Impossible)}
    assert absent.keys() == {("saturating scale", "lowered")}
    assert all(entry.reason and entry.lacks(right.lowered) for entry in absent.values())
    assert not has_no_scales(right.quantized)


@pytest.mark.parametrize(("network", "takes", "seed"), CASES)
def test_a_correct_model_is_never_blamed(chain: Any, data: Path, network: str, takes: str, seed: int) -> None:
    hops_found = found(chain(network, takes, seed), data)
    assert list(hops_found) == list(HOPS)
    assert {name: layers_at_fault(hop) for name, hop in hops_found.items()} == dict.fromkeys(HOPS, ())
    assert all(layer.alone for hop in hops_found.values() for layer in hop.layers)
    # akida computes the very integers of the ONNX graph, layer by layer; what software quantizes may round another way
    inner = [layer for layer in hops_found["emitted"].layers[:-1] if layer.operation != "Quantizer"]
    assert len(inner) >= (5 if network == "plain" else 20)
    assert all(layer.alone and layer.alone.sqnr_db == 200 for layer in inner)


def test_each_layer_behind_an_input_that_software_quantizes_is_run_alone(data: Path) -> None:
    right = forms(dense(0), data, "normalised")
    assert [layers_at_fault(hop) for hop in found(right, data).values()] == [(), (), ()]
    wrong = copying.deepcopy(right.emitted)
    # the right input is there, but the quantizer gives it another scale
    scales = next(one for one in wrong["layers"] if one["name"] == "quantize")["variables"]["scales"]
    scales["data"] = [3 * scale for scale in scales["data"]]
    emitted = found(replace(right, emitted=wrong), data)["emitted"]
    assert emitted.blamed is not None and emitted.blamed.tensor == "quantize"
    assert {layer.tensor: layer.inputs for layer in emitted.layers}["fc1.relu"] == ("quantize",)
    assert [layer.tensor for layer in emitted.layers if layer.alone and layer.alone.sqnr_db < 100] == ["quantize"]


@pytest.mark.parametrize("hop", HOPS)
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize(("network", "takes", "seed"), CASES)
def test_a_fault_is_blamed_on_its_layer_and_its_hop(
    chain: Any, data: Path, network: str, fault: str, hop: str, takes: str, seed: int
) -> None:
    right = chain(network, takes, seed)
    entry = matrix(network, right.quantized)[fault, hop]
    if isinstance(entry, Impossible):
        return  # its reason is tested above
    hops_found = found(faulty(right, network, fault, hop, data), data)
    blamed = {name: layers_at_fault(one) for name, one in hops_found.items()}
    assert entry.layer in blamed.pop(hop), hops_found[hop].blamed
    assert blamed == dict.fromkeys(blamed, ())
