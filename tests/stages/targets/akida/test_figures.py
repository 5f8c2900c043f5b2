# environment: akida
from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path
from typing import Any

import pytest

from recast.stages.targets.akida import emit, figures, mapping
from tests.lib.akida.calibrated_model import workplace
from tests.lib.akida.networks import deep, dense, residual
from tests.stages.targets.akida.test_emit import unpadded


def emitted(root: Path, network: Any, **params: Any) -> Path:
    workplace(root, network, **params).run(emit.STAGE, "emit")
    return root / "emit" / "model.fbz"


def summary_of(model: Any) -> str:
    text = io.StringIO()
    with contextlib.redirect_stdout(text):
        model.summary()
    return text.getvalue()


@pytest.mark.parametrize("network", [residual(0), dense(0), unpadded()], ids=["residual", "dense", "unpadded"])
@pytest.mark.parametrize("device", ["TwoNodesIPv2", "SixNodesIPv2"])
def test_figures_are_those_of_akidas_own_summary(tmp_path: Path, network: Any, device: str) -> None:
    model = mapping.mapped(emitted(tmp_path, network), device)
    found, said = figures.of_device(model), summary_of(model)
    values = said.split("=\n", 1)[1].splitlines()[0]
    sequences, _, nps, skip_dmas, external = values.rpartition("]")[2].split()
    assert (found.sequences, found.nps, found.skip_dmas) == (int(sequences), int(nps), int(skip_dmas))
    assert found.external_memory_bytes == int(external)
    assert found.program_bytes == sum(map(int, re.findall(r"size: (\d+) bytes", said)))


def test_a_device_that_is_too_small_takes_several_passes(tmp_path: Path) -> None:
    path = emitted(tmp_path, deep(0), input="normalised")
    few, many = (figures.of_device(mapping.mapped(path, one)) for one in ("TwoNodesIPv2", "TwelveNodesIPv2"))
    assert few.passes > many.passes >= 1
    assert few.np_input_bytes > 0 and few.np_weight_bytes > 0


def test_a_model_all_in_software_takes_nothing_of_the_device(tmp_path: Path) -> None:
    import akida

    model = akida.Model(str(emitted(tmp_path, unpadded())))
    found = figures.of_device(model)
    assert found.layers_in_hardware == 0 and found.layers_in_software == len(model.layers)
    assert (found.nps, found.passes, found.program_bytes, found.np_weight_bytes) == (0, 0, 0, 0)
