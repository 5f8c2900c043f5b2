# environment: wasm
from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from recast.stages.base import StageError
from recast.stages.targets.c import runtime, verify
from tests.lib.c.emitted import emitted
from tests.lib.onnx_models import Workplace, contents
from tests.lib.wasm.emitted import calibrated


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    return emitted(tmp_path_factory.mktemp("c"))


def copied(work: Workplace, root: Path) -> Workplace:
    shutil.copytree(work.root, root, dirs_exist_ok=True, ignore=shutil.ignore_patterns("verify*", "*.scratch"))
    return Workplace(root)


def edited(work: Workplace, file: str, old: str, new: str) -> None:
    text = (work.root / "emit" / file).read_text()
    assert old in text
    (work.root / "emit" / file).write_text(text.replace(old, new))


def refused(work: Workplace, **params: Any) -> StageError:
    with pytest.raises(StageError) as caught:
        work.run(verify.STAGE, "verify", **params)
    return caught.value


def test_the_c_agrees_with_the_float_model(work: Workplace) -> None:
    metrics = work.run(verify.STAGE, "verify", min_accuracy=1.0, min_agreement=1.0)
    assert metrics["max_abs_error"] < 1e-4 and metrics["samples"] == 64
    shipped = contents(work.root / "emit")
    assert metrics["size_bytes"] == sum(len(shipped[name]) for name in ("model.c", "model.h", "model_weights.c"))
    report = json.loads((work.root / "verify/parity.json").read_text())
    assert [one["to"] for one in report["conversions"]] == ["simplified", "emitted"]
    assert report["conversions"][-1]["kind"] == "float" and report["conversions"][-1]["blamed"] is None


def test_int8_is_compared_with_the_quantized_model(tmp_path: Path) -> None:
    work = emitted(tmp_path, work=calibrated(tmp_path, scheme="int8"))
    assert work.run(verify.STAGE, "verify")["agreement"] >= 0.95
    report = json.loads((tmp_path / "verify/parity.json").read_text())
    assert [one["to"] for one in report["conversions"]][-3:] == ["prepared", "quantized", "emitted"]


def test_the_same_input_gives_the_same_bytes(work: Workplace) -> None:
    for name in ("first", "second"):
        work.run(verify.STAGE, name)
    assert contents(work.root / "first") == contents(work.root / "second")


def test_weights_that_were_changed_miss_the_limit(work: Workplace, tmp_path: Path) -> None:
    changed = copied(work, tmp_path)
    edited(changed, "model_weights.c", "1.111111119e-01f", "1.2e-01f")
    error = refused(changed, max_abs_error=1e-3)
    assert "model.c misses 1 limit: largest error " in error.message and "above max_abs_error 0.001" in error.message


def test_a_wrong_contract_is_seen(work: Workplace, tmp_path: Path) -> None:
    changed = copied(work, tmp_path)
    contract = json.loads((changed.root / "emit/input.json").read_text())
    contract["inputs"][0] |= {"mean": [0.9], "std": [0.01]}
    (changed.root / "emit/input.json").write_text(json.dumps(contract))
    assert "model.c misses 1 limit: largest error " in refused(changed, max_abs_error=0.5, min_agreement=None).message


def test_c_that_was_edited_and_does_not_compile_is_refused(work: Workplace, tmp_path: Path) -> None:
    changed = copied(work, tmp_path)
    edited(changed, "model.c", "void model_run(", "static int unused(void) { return 1; }\nvoid model_run(")
    error = refused(changed)
    assert error.message.startswith("the emitted C is not strict C99: model.c:") and error.remedy == runtime.EDITED
