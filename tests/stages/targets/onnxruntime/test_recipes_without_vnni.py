# environment: torch
"""The int8 model of every recipe's network, on this processor, on one without VNNI, and as it is meant."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from recast.stages.common.onnx_models import saturation
from recast.stages.parity.metrics import difference
from tests.lib import integer_reference, run_onnx_session, without_vnni
from tests.lib.onnxruntime_chain import int8, prepared

ROOT = Path(__file__).resolve().parents[4]


def networks() -> dict[str, tuple[str, tuple[int, ...]]]:
    """recipe -> its network, and the shape of a sample; recipes that extend others have theirs."""
    found = {}
    for path in sorted((ROOT / "recipes").glob("*.yaml")):
        text = path.read_text(encoding="utf-8")
        name = re.search(r"^model: (\S+)$", text, re.MULTILINE)
        if name is None:
            assert re.search(r"^extends: ", text, re.MULTILINE), path.name
            continue
        resized = re.search(r"resize: (\d+)", text)
        side = int(resized[1]) if resized else 28
        found[path.stem] = name[1], (3, 32, 32) if "cifar10" in text else (1, side, side)
    return found


def exported(name: str, samples: torch.Tensor) -> Any:
    """The network with random weights, its statistics those of the samples."""
    torch.manual_seed(0)
    module, _, attribute = name.partition(":")
    network = getattr(importlib.import_module(module), attribute)()
    with torch.no_grad():
        network.train()(samples)
    shapes = ({0: torch.export.Dim("batch")},)
    program = torch.onnx.export(
        network.eval(), (samples[:2],), dynamo=True, opset_version=18, verbose=False, dynamic_shapes=shapes
    )
    assert program is not None
    return program.model_proto


@pytest.mark.slow
def test_the_int8_model_of_every_recipe_is_the_same_without_vnni(tmp_path: Path) -> None:
    assert len(networks()) >= 8
    meant = {}
    for recipe, (name, shape) in networks().items():
        x = np.random.default_rng(0).normal(size=(64, *shape)).astype(np.float32)
        folder = tmp_path / f"{recipe}_made"
        folder.mkdir()
        ready = prepared(exported(name, torch.from_numpy(x)), folder)
        for form, scheme in (("default", {}), ("whole", {"reduce_range": False})):
            made = int8(ready, folder, x, **scheme)
            assert bool(saturation.products(made)) == (form == "whole"), recipe
            path = tmp_path / f"{recipe}-{form}.onnx"
            path.write_bytes(made.SerializeToString())
            np.save(path.with_suffix(".npy"), x[None, :16])
            meant[path] = integer_reference.outputs(made, x[:16])
    without_vnni.python(run_onnx_session.__file__, str(tmp_path), "as_shipped")
    saturated = []
    for path, expected in meant.items():
        here, there = run_onnx_session.outputs(path, "as_shipped"), np.load(path.with_suffix(".as_shipped.npy"))
        if path.stem.endswith("whole"):
            saturated.append(difference(expected, there[0]).sqnr_db < 35)
            continue
        # layers in float, such as LogSoftmax, may differ in their last digits
        np.testing.assert_allclose(there, here, rtol=1e-5, atol=1e-6, err_msg=path.stem)
        # kernels that onnxruntime has for quantized Sigmoid and averages round some ties the other way
        assert difference(expected, here[0]).sqnr_db > 35, path.stem
    assert sum(saturated) >= 4
