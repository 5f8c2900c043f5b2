# environment: ezkl
from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from recast.stages.base import StageError
from recast.stages.targets.ezkl import calibrate, quantize
from recast.stages.targets.ezkl.circuit import cost, settings
from tests.lib.ezkl import circuits
from tests.lib.onnx_models import Workplace, contents, initializer, model


@pytest.fixture(scope="module")
def quantized(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    work = circuits.workplace(tmp_path_factory.mktemp("quantized"), circuits.mlp())
    work.run(quantize.STAGE, "quantize")
    return work


def copied(work: Workplace, root: Path) -> Workplace:
    for name in ("data", "simplify", "quantize"):
        (root / name).symlink_to(work.root / name)
    return Workplace(root)


def test_calibrating_twice_gives_the_same_bytes(quantized: Workplace, tmp_path: Path) -> None:
    work = copied(quantized, tmp_path)
    assert work.run(calibrate.STAGE, "calibrate") == work.run(calibrate.STAGE, "again")
    assert contents(tmp_path / "calibrate") == contents(tmp_path / "again")
    assert set(contents(tmp_path / "again")) == {"network.onnx", "settings.json", "cost.json"}


def test_scales_that_lose_too_much_are_refused_with_what_they_lose(quantized: Workplace, tmp_path: Path) -> None:
    work = copied(quantized, tmp_path)
    message = r"scales 0 and 0 \(input and weights\) give errors of up to [\d.]+ in the scores, more than max_abs_error"
    with pytest.raises(StageError, match=message) as caught:
        work.run(calibrate.STAGE, "calibrate", scales=[0])
    assert "raise quantize.input_scale" in caught.value.remedy
    loose = {"scales": [0], "max_abs_error": None, "min_agreement": None}
    metrics = work.run(calibrate.STAGE, "loose", **loose)
    assert metrics["max_abs_error"] > 0.15
    with pytest.raises(StageError, match="less than min_agreement 1"):
        work.run(calibrate.STAGE, "disagrees", **{**loose, "min_agreement": 1.0})


def test_a_larger_scale_has_a_smaller_error(quantized: Workplace, tmp_path: Path) -> None:
    work = copied(quantized, tmp_path)
    errors = [
        work.run(calibrate.STAGE, f"scale{scale}", scales=[scale], max_abs_error=None, min_agreement=None)[
            "max_abs_error"
        ]
        for scale in (3, 6, 9)
    ]
    assert errors[0] > 2 * errors[1] > 4 * errors[2] > 0


def test_a_form_that_ezkl_computes_otherwise_is_not_taken(tmp_path: Path) -> None:
    """As products, EZKL 23 mixes the channels of a ShuffleNet up; onnxruntime gives the same for both forms."""
    work = circuits.workplace(tmp_path / "shuffled", circuits.shuffled())
    work.run(quantize.STAGE, "quantize")
    metrics = work.run(calibrate.STAGE, "calibrate", max_abs_error=None, min_agreement=None)
    assert metrics["convolutions"] == "terms" and metrics["max_abs_error"] < 0.15
    chosen = json.loads((work.root / "calibrate/settings.json").read_text(encoding="utf-8"))
    assert chosen["run_args"]["logrows"] == metrics["logrows"]
    with pytest.raises(StageError, match="give errors of up to") as caught:
        work.run(calibrate.STAGE, "products", convolutions="products")
    assert "drop calibrate.convolutions" in caught.value.remedies


def test_the_shape_is_chosen_for_what_the_recipe_wants(quantized: Workplace, tmp_path: Path) -> None:
    work = copied(quantized, tmp_path)
    chosen = {
        objective: work.run(calibrate.STAGE, str(objective), optimize=objective)
        for objective in (None, "prove_time", "memory", "proof_size", "onchain")
    }
    memory = {objective: metrics["predicted_memory_bytes"] for objective, metrics in chosen.items()}
    # left to itself, EZKL takes a decomposition whose table needs 2^15 rows
    assert chosen[None]["logrows"] == 15
    assert memory["memory"] == min(memory.values()) < memory[None] / 5
    found = {objective: settings.read(tmp_path / str(objective) / settings.FILE) for objective in chosen}
    assert cost.predict(found["proof_size"]).blocks == 1
    assert cost.predict(found["onchain"]).code <= cost.EIP_170_BYTES
    times = {objective: cost.predict(one).prove for objective, one in found.items()}
    assert times["prove_time"] == min(times.values())


def test_max_logrows_and_a_decomposition_that_are_given_are_kept(quantized: Workplace, tmp_path: Path) -> None:
    metrics = copied(quantized, tmp_path).run(calibrate.STAGE, "calibrate", max_logrows=10)
    assert metrics["logrows"] <= 10
    work = circuits.workplace(tmp_path / "given", circuits.mlp())
    work.run(quantize.STAGE, "quantize", decomp_base=1024, decomp_legs=3)
    metrics = work.run(calibrate.STAGE, "calibrate")
    assert (metrics["decomp_base"], metrics["decomp_legs"]) == (1024, 3)


def test_a_circuit_too_large_for_the_machine_is_refused_with_what_would_fit(
    quantized: Workplace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = copied(quantized, tmp_path)
    monkeypatch.setattr(cost, "machine_memory", lambda: 100 * 2**20)
    with pytest.raises(StageError, match=r"k 15, \d+ rows: about 0\.\d+ GiB .* does not fit this machine's 0.1 GiB"):
        work.run(calibrate.STAGE, "calibrate", optimize=None)
    found = settings.read(large(quantized, tmp_path / "large"))
    with pytest.raises(StageError) as caught:
        cost.require_memory(found, 200 * 2**20)
    assert "set calibrate.max_logrows to 10, with which it takes about" in caught.value.remedy
    fits = cost.predict(found, 10)
    assert fits.memory <= 180 * 2**20 < cost.predict(found).memory
    with pytest.raises(StageError) as caught:
        cost.require_memory(found, 1 * 2**20)
    assert "no calibrate.max_logrows makes it fit" in caught.value.remedy


def large(work: Workplace, place: Path) -> Path:
    """Settings of the circuit with a smaller table and many more rows."""
    found = settings.read(work.root / "quantize" / settings.FILE)
    args = {**found.raw["run_args"], "logrows": 17}
    place.mkdir()
    raw = {**found.raw, "run_args": args, "num_rows": 9000, "required_range_checks": [[0, 511]]}
    settings.Settings(raw).write(place / settings.FILE)
    return place / settings.FILE


@pytest.mark.parametrize("network", ["mlp", "sigmoid"])
def test_the_key_is_as_large_as_predicted(network: str, request: pytest.FixtureRequest, store: Path) -> None:
    from recast.stages.targets.ezkl.keys import keys, srs

    emitted = request.getfixturevalue(network).root / "emit"
    identity = keys.identity(emitted, srs.read(emitted).sha256)
    actual = (store / "ezkl" / identity / keys.PROVING_KEY).stat().st_size
    assert cost.predict(settings.read(emitted / settings.FILE)).key == pytest.approx(actual, rel=0.15)


def test_too_few_samples_are_refused(quantized: Workplace, tmp_path: Path) -> None:
    with pytest.raises(StageError, match="there are 64 calibration samples, and calibrate needs 65"):
        copied(quantized, tmp_path).run(calibrate.STAGE, "calibrate", fidelity_samples=65)


def test_scales_may_differ(tmp_path: Path) -> None:
    work = circuits.workplace(tmp_path / "uneven", circuits.mlp())
    work.run(quantize.STAGE, "quantize", input_scale=4, param_scale=9)
    metrics = work.run(calibrate.STAGE, "calibrate")
    assert (metrics["input_scale"], metrics["param_scale"]) == (4, 9)


def test_inputs_of_whole_numbers_have_no_bits_after_the_point(quantized: Workplace, tmp_path: Path) -> None:
    fractions = copied(quantized, tmp_path)
    assert fractions.run(calibrate.STAGE, "calibrate")["input_scale"] == 7
    work = circuits.workplace(tmp_path / "whole", circuits.mlp())
    circuits.with_whole_numbers(work)
    work.run(quantize.STAGE, "quantize")
    assert work.run(calibrate.STAGE, "calibrate")["input_scale"] == 0
    # EZKL's own calibration would not keep 0 and 7 apart
    assert work.run(calibrate.STAGE, "theirs", optimize=None)["input_scale"] == 7
    assert work.run(calibrate.STAGE, "multipliers", scale_rebase_multiplier=[1, 2])["input_scale"] == 7


def test_a_table_that_is_looked_up_by_index_fits_into_one_column(tmp_path: Path) -> None:
    """An embedding's. Other values may stand in several columns side by side."""
    work = circuits.workplace(tmp_path / "embedding", circuits.embedding(words=300))
    circuits.with_whole_numbers(work)
    work.run(quantize.STAGE, "quantize", decomp_base=512, decomp_legs=3)
    assert 2 ** work.run(calibrate.STAGE, "calibrate", optimize="memory")["logrows"] > 300 * 4
    with pytest.raises(StageError, match="max_logrows 10") as caught:
        work.run(calibrate.STAGE, "narrow", max_logrows=10)
    assert "raise calibrate.max_logrows" in caught.value.remedy


def test_scales_that_ezkls_own_calibration_did_not_keep_are_no_secret(tmp_path: Path) -> None:
    work = circuits.workplace(tmp_path / "uneven", circuits.mlp())
    work.run(quantize.STAGE, "quantize", input_scale=4, param_scale=9)
    with pytest.raises(
        StageError, match=r"asks for scales 4 \(input\) and 9 \(weights\), and EZKL's calibration chose"
    ) as caught:
        work.run(calibrate.STAGE, "calibrate", optimize=None)
    assert "set calibrate.optimize and no list of multipliers, which keeps them" in caught.value.remedy


def test_ranges_are_those_ezkls_own_calibration_finds(tmp_path: Path) -> None:
    work = circuits.workplace(tmp_path / "sigmoid", circuits.with_sigmoid())
    work.run(quantize.STAGE, "quantize", decomp_base=128, decomp_legs=4, num_inner_cols=2)
    ours = work.run(calibrate.STAGE, "ours")
    work.run(calibrate.STAGE, "theirs", optimize=None, max_logrows=ours["logrows"])
    ours_found, theirs = ((work.root / name / settings.FILE).read_bytes() for name in ("ours", "theirs"))
    assert ours_found == theirs
    low, high = json.loads(theirs)["run_args"]["lookup_range"]
    assert low < 0 < high


def test_settings_that_make_no_sense_are_refused_before_anything_runs() -> None:
    for params, message in (
        ({"decomp_base": 512}, "give both or none"),
        ({"lookup_range": (5, 5)}, r"lookup_range is \[lowest, highest\]"),
        ({"output_visibility": "private"}, "nothing is public, hashed or polycommit"),
        ({"input_visibility": "secret"}, "input_visibility"),
        ({"scale": 7}, "scale"),
    ):
        with pytest.raises(ValidationError, match=message):
            quantize.QuantizeParams(**params)


def test_an_operation_ezkl_lacks_is_refused(tmp_path: Path) -> None:
    import onnx

    node = onnx.helper.make_node
    weights = [initializer("matrix", [[1.0, 0.0], [0.0, 1.0]]), initializer("axes", [4, -1], "int64")]
    nodes = [
        node("Flatten", ["image"], ["flat"], axis=1),
        node("Gemm", ["flat", "weight"], ["four"], transB=1),
        node("Det", ["matrix"], ["one"]),
        node("Mul", ["four", "one"], ["scores"]),
    ]
    weights = [weights[0], initializer("weight", circuits.quadrants())]
    work = circuits.workplace(tmp_path / "det", model(nodes, weights, opset=circuits.OPSET))
    with pytest.raises(StageError, match="EZKL makes no circuit of Det 'one': ") as caught:
        work.run(quantize.STAGE, "quantize")
    assert "set export.opset to 12" in caught.value.remedy


def test_a_batch_of_any_size_becomes_one_sample(quantized: Workplace) -> None:
    import onnx

    network = onnx.load(quantized.root / "quantize" / settings.NETWORK)
    shape: Any = network.graph.input[0].type.tensor_type.shape
    assert [axis.dim_value for axis in shape.dim] == [1, 1, 8, 8]
