# environment: akida
from __future__ import annotations

import typing
from pathlib import Path

import pytest

from recast.stages.base import StageError
from recast.stages.targets.akida import emit, figures, mapping
from recast.stages.targets.akida.mapping import Way
from tests.lib.akida.calibrated_model import workplace
from tests.lib.akida.networks import residual


@pytest.fixture
def emitted(tmp_path: Path) -> Path:
    workplace(tmp_path, residual(0)).run(emit.STAGE, "emit")
    return tmp_path / "emit" / "model.fbz"


def test_modes_and_limits_are_akidas_own() -> None:
    import akida

    assert list(typing.get_args(mapping.Mode)) == [mode.name for mode in akida.MapMode]
    own = akida.MapConstraints(akida.SixNodesIPv2())
    assert {name: getattr(own, name) for name in mapping.CONSTRAINTS} == mapping.CONSTRAINTS
    for name, most in mapping.CONSTRAINTS.items():
        assert emit.EmitParams.model_validate({"map_constraints": {name: most}})
        with pytest.raises(ValueError, match=f"cannot have {name} above {most}; lower it"):
            emit.EmitParams.model_validate({"map_constraints": {name: most + 1}})
        with pytest.raises(ValueError, match=f"should be <= {most}"):
            setattr(own, name, most + 1)


def test_the_mode_decides_how_many_processors_run_it(emitted: Path) -> None:
    found = {
        mode: figures.of_device(mapping.mapped(emitted, "SixNodesIPv2", Way(mode)))
        for mode in typing.get_args(mapping.Mode)
    }
    assert found["Minimal"].nps < found["AllNps"].nps
    assert found["HwPr"].passes >= found["AllNps"].passes == 1
    assert {one.layers_in_software for one in found.values()} == {0}


def test_constraints_split_convolutions_further(emitted: Path) -> None:
    free, split = (
        figures.of_device(mapping.mapped(emitted, "SixNodesIPv2", Way("Minimal", constraints)))
        for constraints in ({}, {"cnp_max_filters": 4})
    )
    assert split.nps > free.nps


def test_emit_maps_as_its_params_say(tmp_path: Path) -> None:
    work = workplace(tmp_path, residual(0))
    few = work.run(emit.STAGE, "few", map_mode="Minimal")
    more = work.run(emit.STAGE, "more", map_mode="Minimal", map_constraints={"cnp_max_filters": 4})
    assert few["nps"] < more["nps"]


def test_what_akida_does_not_map_is_refused(emitted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> None:
        raise RuntimeError("no way\nand more")

    monkeypatch.setattr(mapping, "put", fails)
    with pytest.raises(StageError, match="the model cannot be mapped on SixNodesIPv2: no way") as caught:
        mapping.mapped(emitted, "SixNodesIPv2", Way(constraints={"cnp_max_width": 8}))
    assert caught.value.remedies == ("choose another device", "drop map_constraints")
