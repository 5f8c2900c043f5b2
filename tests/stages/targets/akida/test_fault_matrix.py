# environment: akida
"""Every fault at every conversion of the akida target: blamed on its layer and its conversion, and on no other."""

from __future__ import annotations

import copy as copying
import functools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from recast.stages.common import dataset
from recast.stages.parity import comparison
from recast.stages.targets.akida import quantizeml_steps
from tests.lib.akida.akida_chain import Forms, forms, measured
from tests.lib.akida.akida_faults import has_no_scales, in_akida, in_integer, in_lowered
from tests.lib.akida.networks import NETWORKS, dense
from tests.lib.faults import FAULTS, Impossible, Matrix, copy
from tests.lib.onnx_models import write_data

CONVERSIONS = ("lowered", "quantized", "emitted")
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


def found(of: Forms, data: Path) -> dict[str, comparison.Conversion]:
    return measured(of, dataset.read(data, "test")[0][:24])


def layers_at_fault(conversion: comparison.Conversion) -> tuple[str, ...]:
    return () if conversion.blamed is None else (*conversion.blamed.covers, conversion.blamed.layer)


def faulty(right: Forms, network: str, fault: str, conversion: str, data: Path) -> Forms:
    """The forms, wrong from the conversion on."""
    entry = matrix(network, right.quantized)[fault, conversion]
    assert not isinstance(entry, Impossible)
    if conversion == "lowered":
        source = copy(right.simplified)
        entry.plant(source)
        return replace(forms(source, data, right.takes), simplified=right.simplified)
    if conversion == "quantized":
        integers = copy(right.quantized)
        entry.plant(integers)
        return replace(right, quantized=integers, emitted=quantizeml_steps.to_akida(integers).to_dict())
    emitted = copying.deepcopy(right.emitted)
    entry.plant(emitted)
    return replace(right, emitted=emitted)


@pytest.mark.parametrize("network", NETWORKS)
def test_the_matrix_is_whole_and_what_is_not_planted_has_a_reason_that_holds(chain: Any, network: str) -> None:
    right = chain(network, "stored", 0)
    entries = matrix(network, right.quantized)
    assert entries.keys() == {(fault, conversion) for fault in FAULTS for conversion in CONVERSIONS}
    absent = {key: entry for key, entry in entries.items() if isinstance(entry, Impossible)}
    assert absent.keys() == {("saturating scale", "lowered")}
    assert all(entry.reason and entry.lacks(right.lowered) for entry in absent.values())
    assert not has_no_scales(right.quantized)


@pytest.mark.parametrize(("network", "takes", "seed"), CASES)
def test_a_correct_model_is_never_blamed(chain: Any, data: Path, network: str, takes: str, seed: int) -> None:
    conversions = found(chain(network, takes, seed), data)
    assert list(conversions) == list(CONVERSIONS)
    assert {name: layers_at_fault(conversion) for name, conversion in conversions.items()} == dict.fromkeys(
        CONVERSIONS, ()
    )
    assert all(layer.alone for conversion in conversions.values() for layer in conversion.layers)
    # akida computes the very integers of the ONNX graph, layer by layer; what software quantizes may round another way
    inner = [layer for layer in conversions["emitted"].layers[:-1] if layer.operation != "Quantizer"]
    assert len(inner) >= (5 if network == "plain" else 20)
    assert all(layer.alone and layer.alone.sqnr_db == 200 for layer in inner)


def test_each_layer_behind_an_input_that_software_quantizes_is_run_alone(data: Path) -> None:
    right = forms(dense(0), data, "normalised")
    assert [layers_at_fault(conversion) for conversion in found(right, data).values()] == [(), (), ()]
    wrong = copying.deepcopy(right.emitted)
    # the right input is there, but the quantizer gives it another scale
    scales = next(one for one in wrong["layers"] if one["name"] == "quantize")["variables"]["scales"]
    scales["data"] = [3 * scale for scale in scales["data"]]
    emitted = found(replace(right, emitted=wrong), data)["emitted"]
    assert emitted.blamed is not None and emitted.blamed.tensor == "quantize"
    assert {layer.tensor: layer.inputs for layer in emitted.layers}["fc1.relu"] == ("quantize",)
    assert [layer.tensor for layer in emitted.layers if layer.alone and layer.alone.sqnr_db < 100] == ["quantize"]


@pytest.mark.parametrize("conversion", CONVERSIONS)
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize(("network", "takes", "seed"), CASES)
def test_a_fault_is_blamed_on_its_layer_and_its_hop(
    chain: Any, data: Path, network: str, fault: str, conversion: str, takes: str, seed: int
) -> None:
    right = chain(network, takes, seed)
    entry = matrix(network, right.quantized)[fault, conversion]
    if isinstance(entry, Impossible):
        return  # its reason is tested above
    conversions = found(faulty(right, network, fault, conversion, data), data)
    blamed = {name: layers_at_fault(one) for name, one in conversions.items()}
    assert entry.layer in blamed.pop(conversion), conversions[conversion].blamed
    assert blamed == dict.fromkeys(blamed, ())
