# environment: akida
from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from recast.stages.base import StageError
from recast.stages.targets.akida import devices, emit, runtime
from recast.stages.targets.akida.devices import CreatedDevice, SramSize
from tests.lib.akida.calibrated_model import workplace
from tests.lib.akida.networks import residual
from tests.lib.onnx_models import cnn
from tests.stages.targets.akida.test_emit import unpadded


def emitted(root: Path, network: Any) -> runtime.AkidaModel:
    workplace(root, network).run(emit.STAGE, "emit")
    return runtime.load(root / "emit" / "model.fbz")


def test_the_devices_offered_and_refused_are_akidas_own() -> None:
    import akida

    there = [getattr(akida.virtual_devices, name) for name in dir(akida.virtual_devices)]
    own = {one.__name__: one().ip_version.name for one in there if callable(one) and _makes_a_device(one)}
    assert len(own) > 4
    assert sorted(devices.VIRTUAL) == sorted(name for name, version in own.items() if version == "v2")
    others = {name: version.removeprefix("v").capitalize() for name, version in own.items() if version != "v2"}
    assert others == devices.OTHER_VERSIONS


def _makes_a_device(function: Any) -> bool:
    import akida

    return (
        inspect.isfunction(function)
        and function.__module__ == akida.virtual_devices.__name__
        and not inspect.signature(function).parameters
        and isinstance(function(), akida.Device)
    )


def test_what_akida_says_of_other_versions_is_quoted_as_it_says_it(tmp_path: Path) -> None:
    """The reason in a refusal is the vendor's own, and still true."""
    import akida
    import cnn2snn

    model = emitted(tmp_path, None)
    for name in devices.OTHER_VERSIONS:
        with pytest.raises(RuntimeError, match="The IP version of the model and device must be identical"):
            model.map(getattr(akida.virtual_devices, name)())
        with pytest.raises(ValidationError, match=f"cannot be '{name}', which has version"):
            emit.EmitParams(device=name)
    with (
        cnn2snn.set_akida_version(cnn2snn.AkidaVersion.v1),
        pytest.raises(ValueError, match=r"Akida v1 does not support ONNX models\. Use Akida v2 instead\."),
    ):
        cnn2snn.check_model_compatibility(cnn())


def test_the_smallest_device_takes_the_whole_model_and_none_smaller_does(tmp_path: Path) -> None:
    model = emitted(tmp_path, residual(0))
    whole, reconfigured = (devices.make(one, model) for one in devices.SMALLEST)
    assert len(whole.mesh.nps) > len(reconfigured.mesh.nps) >= 4
    # the model was not mapped by it: it still predicts
    assert model.device is None
    path = tmp_path / "emit" / "model.fbz"
    for device, passes in ((whole, 1), (reconfigured, 3)):
        mapped = runtime.load(path)
        mapped.map(device, hw_only=True)
        assert sum(len(sequence.passes) for sequence in mapped.sequences) == passes


def test_a_model_that_no_device_takes_whole_names_the_layer(tmp_path: Path) -> None:
    work = workplace(tmp_path, unpadded())
    with pytest.raises(StageError) as caught:
        work.run(emit.STAGE, "emit", device="smallest")
    assert caught.value.message == (
        "emit.device is smallest, and no device takes the whole model: layer 'second': "
        "it is not padded so that its output is as large as its input"
    )
    assert caught.value.remedies[0] == "in the model, for layer 'second': pad it to keep the size of its input"


def test_a_device_is_created_of_its_parts(tmp_path: Path) -> None:
    model = emitted(tmp_path, None)
    made = devices.make(
        CreatedDevice(
            num_cnp_tnp=6,
            num_fnp=2,
            num_skip_dma_channel=2,
            include_hrc=False,
            sram_size=SramSize(input_bytes=1024, weight_bytes=2048),
        ),
        model,
    )
    assert len(made.mesh.nps) == 8 and made.mesh.hrc is None
    assert (made.mesh.np_sram_size.input_bytes, made.mesh.np_sram_size.weight_bytes) == (1024, 2048)
    assert sum(one.ident.channel for one in made.mesh.skip_dmas) == 2
    assert str(CreatedDevice(num_cnp_tnp=6, num_fnp=2)) == "created_6_2"


@pytest.mark.parametrize(
    ("device", "message"),
    [
        ("SixNodes", "cannot be 'SixNodes'; did you mean 'SixNodesIPv2'[?] there are TwoNodesIPv2, "),
        (3, "cannot be 3; there are"),
        ([], "names no device; there are"),
        (["smallest", "smallest"], "names smallest twice"),
        ([{"num_cnp_tnp": 4, "num_fnp": 1}] * 2, "names created_4_1 twice"),
        ({"num_cnp_tnp": 4}, "a device to create that needs num_fnp; num_fnp is: neural processors for dense layers"),
        ({"num_cnp_tnp": 0, "num_fnp": 0}, "has no neural processor; raise num_cnp_tnp or num_fnp"),
        ({"num_cnp_tnp": -1, "num_fnp": 0}, "cannot have -1 as its num_cnp_tnp"),
        ({"num_cnp_tnp": 4, "num_fnp": 1, "nodes": 3}, "has no part 'nodes'; known: "),
        ({"num_cnp_tnp": 4, "num_fnp": 1, "sram_size": {"input_bytes": 3}}, "needs sram_size.weight_bytes"),
    ],
)
def test_a_device_that_is_none_is_refused(device: Any, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        emit.EmitParams(device=device)
