# environment: zml
from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from recast.stages.base import StageError
from recast.stages.targets.zml.check import toolchain
from tests.lib.zml.verifying import STAND_IN, copied, run


@pytest.fixture(scope="module")
def images(emitted: Path) -> dict[str, Any]:
    return run(emitted / "Images", "unfolded")


def test_every_layer_of_images_computes_what_pytorch_does(emitted: Path, images: dict[str, Any]) -> None:
    assert images["checked"] == "executed"
    assert images["layers"] > 30
    assert images["max_layer_error"] < 1e-5
    assert images["max_abs_error"] < 1e-5
    assert images["agreement"] == 1
    assert images["samples"] == 24
    folder = emitted / "Images" / "unfolded"
    sizes = [(folder / name).stat().st_size for name in ("model.zig", "model.safetensors")]
    assert images["size_bytes"] == sum(sizes)
    rows = (emitted / "Images" / "verify" / "layers.csv").read_text().splitlines()
    assert rows[0] == "layer,max_abs_error"
    assert len(rows) == images["layers"] + 1
    assert json.loads((emitted / "Images" / "verify" / "parity.json").read_text())


@pytest.mark.usefixtures("quickly")
def test_every_layer_of_sequences_computes_what_pytorch_does(emitted: Path) -> None:
    metrics = run(emitted / "Sequences")
    assert metrics["max_layer_error"] < 1e-5
    assert metrics["agreement"] == 1


def test_the_stand_in_is_sound_zig() -> None:
    files = sorted(STAND_IN.glob("*.zig"))
    assert STAND_IN / "zml.zig" in files
    toolchain.check_syntax(files)


@pytest.mark.usefixtures("quickly")
def test_code_that_breaks_zmls_rules_stops_with_the_layer(emitted: Path, tmp_path: Path) -> None:
    root = copied(emitted, tmp_path)
    path = root / "emit" / "model.zig"
    text = path.read_text()
    assert text.count(".rhs_dilation = &.{ 2, 1 }") == 1
    path.write_text(text.replace("y.add(self.bias.withTags(.{.c})", "y.add(self.bias.withTags(.{.h})", 1))
    with pytest.raises(StageError, match=r"stopped: layer stem: cannot broadcast \{h=8,f32\} to \{b=4,c=8"):
        run(root)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("return", "retrun"), r"model\.zig is not valid Zig: model\.zig:\d+:\d+: "),
        (("    return", "return"), r"model\.zig is not formatted"),
    ],
)
def test_malformed_zig_is_refused(emitted: Path, tmp_path: Path, change: tuple[str, str], message: str) -> None:
    root = copied(emitted, tmp_path)
    path = root / "emit" / "model.zig"
    path.write_text(path.read_text().replace(*change, 1))
    with pytest.raises(StageError, match=message):
        run(root)


@pytest.mark.usefixtures("quickly")
def test_a_wrong_shape_is_caught_at_the_layer_that_makes_it(emitted: Path, tmp_path: Path) -> None:
    root = copied(emitted, tmp_path)
    path = root / "emit" / "model.zig"
    text = path.read_text()
    assert text.count(".padding = &.{ 2, 2, 1, 1 }") == 1
    path.write_text(text.replace(".padding = &.{ 2, 2, 1, 1 }", ".padding = &.{ 1, 1, 2, 2 }"))
    with pytest.raises(StageError, match=r"stopped: layer __model__: .*; layer stem differs before that"):
        run(root)
