# environment: wasm
from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from recast.stages.base import StageError
from recast.stages.common.onnx_models import onnx_files
from recast.stages.targets.c import emit, runtime, verify
from recast.stages.targets.c.form import NativeForm
from tests.lib.c.emitted import emitted
from tests.lib.onnx_models import CONTRACT, Workplace, cnn, contents, initializer
from tests.lib.onnx_models import model as onnx_model
from tests.lib.wasm.emitted import calibrated, expected, stored, text_model, text_workplace, with_node


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    return emitted(tmp_path_factory.mktemp("c"))


def test_the_folder_holds_c_without_allocation(work: Workplace) -> None:
    files = contents(work.root / "emit")
    names = ["README.md", "input.json", "main.c", "model.c", "model.h", "model_weights.c", "report.json"]
    assert sorted(files) == names
    assert b"malloc" not in files["model.c"]
    report = json.loads(files["report.json"])
    assert report["error"] < 1e-5 and report["macs"] > 0 and report["memory_bytes"] > 0


@pytest.mark.parametrize("file", ["model.c", "main.c"])
def test_c_that_is_not_strict_c99_is_refused(work: Workplace, tmp_path: Path, file: str) -> None:
    for name, content in contents(work.root / "emit").items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / file).write_bytes((tmp_path / file).read_bytes() + b"\nstatic int unused(void) { return 1; }\n")
    (tmp_path / "scratch").mkdir()
    with pytest.raises(StageError, match=rf"the emitted C is not strict C99: {file}:\d+:\d+: error: unused function"):
        runtime.scorer(tmp_path, tmp_path / "scratch")


def test_wrong_weights_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from recast.stages.compilers.onnx_c import build

    def wrong(sources: Any, folder: Path) -> list[str]:
        names = right(sources, folder)
        text = (folder / "model_weights.c").read_text()
        assert text.count("1.111111119e-01f") > 8
        (folder / "model_weights.c").write_text(text.replace("1.111111119e-01f", "1.2e-01f"))
        return names

    right = build.write
    monkeypatch.setattr(build, "write", wrong)
    with pytest.raises(StageError, match=r"model\.c is wrong: its output scores differs .* computes all of them right"):
        emitted(tmp_path)


FAULTS = {
    "writes to the input": ("", "((float *)input0)[0] = 1.0e6f;"),
    "gives other scores": ("static float runs;", "output0[0] += 1.0e-6f * (runs += 1.0f);"),
}


@pytest.mark.parametrize("said", FAULTS)
def test_c_that_does_not_run_twice_is_refused(work: Workplace, tmp_path: Path, said: str) -> None:
    for name, content in contents(work.root / "emit").items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "scratch").mkdir()
    before, after = FAULTS[said]
    text = (tmp_path / "model.c").read_text()
    head, signature, body = text.rpartition("void model_run(")
    (tmp_path / "model.c").write_text(
        f"{head}{before}\n{signature}{body.replace(chr(10) + '}', after + chr(10) + '}', 1)}"
    )
    score = runtime.scorer(tmp_path, tmp_path / "scratch", runtime.OURS)
    with pytest.raises(StageError, match=said) as caught:
        score(CONTRACT.normalise(stored(3)))
    assert caught.value.remedy == runtime.OURS


@pytest.mark.slow
def test_the_example_runs_as_the_readme_says(tmp_path: Path) -> None:
    """Four at once, which six samples do not fill, and an input that is cut short."""
    work = emitted(tmp_path, batch=4)
    readme = (work.root / "emit/README.md").read_text()
    compiler = next(line for line in readme.splitlines() if line.startswith("cc ")).split()
    cache = {"ZIG_GLOBAL_CACHE_DIR": str(tmp_path / "zig"), "ZIG_LOCAL_CACHE_DIR": str(tmp_path / "zig")}
    command = [sys.executable, "-m", "ziglang", *compiler]
    subprocess.run(command, cwd=work.root / "emit", env={**os.environ, **cache}, check=True)
    samples = stored(6)
    given = CONTRACT.normalise(samples).tobytes()
    done = subprocess.run([work.root / "emit/model"], input=given, capture_output=True, check=True)
    printed = np.array([line.split() for line in done.stdout.splitlines()], np.float32)
    np.testing.assert_allclose(printed, expected(cnn(), samples), atol=1e-4)
    done = subprocess.run([work.root / "emit/model"], input=given[:-4], capture_output=True)
    assert done.returncode == 1 and done.stderr == b"the input ends within a sample of 64 values\n"


WINDOW = {"kernel_shape": [3, 3], "strides": [3, 3], "pads": [1, 1, 1, 1]}


def rounding_up() -> Any:
    """A pool with ceil_mode and padding: (1, 3, 3) comes out, and shape inference says (1, 4, 4)."""
    nodes = [
        onnx.helper.make_node("MaxPool", ["image"], ["pooled"], "pool", **WINDOW, ceil_mode=1),
        onnx.helper.make_node("Relu", ["pooled"], ["positive"], "relu"),
        onnx.helper.make_node("GlobalAveragePool", ["positive"], ["mean"], "mean"),
        onnx.helper.make_node("Flatten", ["mean"], ["flat"], "flat"),
        onnx.helper.make_node("Gemm", ["flat", "head"], ["scores"], "head"),
    ]  # fmt: skip
    return onnx_model(nodes, [initializer("head", [[1.0, -1.0, 2.0, 0.5]])], opset=17)


def test_shapes_are_those_that_onnxruntime_gives(tmp_path: Path) -> None:
    work = emitted(tmp_path, work=calibrated(tmp_path, rounding_up()))
    assert work.run(verify.STAGE, "verify", min_agreement=1.0)["max_abs_error"] < 1e-5


def test_a_wrong_shape_and_a_diagnosis_that_fails_are_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*arguments: Any) -> Any:
        raise ValueError("operands could not be broadcast together")

    monkeypatch.setattr(NativeForm, "values", fails)
    monkeypatch.setattr(runtime, "scorer", lambda *arguments: lambda x: np.zeros((len(x), 3), np.float32))
    with pytest.raises(
        StageError,
        match=r"model\.c is wrong: its output scores has shape \(16, 3\), and .* \(16, 4\); "
        "its layers cannot be compared: operands could not be broadcast together",
    ):
        emitted(tmp_path)


def test_the_same_input_gives_the_same_bytes(work: Workplace) -> None:
    emitted(work.root, "again", work)
    assert contents(work.root / "again") == contents(work.root / "emit")


def test_an_operator_the_compiler_does_not_know_is_named(tmp_path: Path) -> None:
    model = with_node(onnx.helper.make_node("Asinh", ["flat"], ["middle"], "node_asinh"), [])
    with pytest.raises(StageError, match=r"'node_asinh' \(Asinh, opset 18\)"):
        emitted(tmp_path, work=calibrated(tmp_path, model))
    assert not contents(tmp_path / "emit")


@pytest.mark.parametrize(("dtype", "outputs"), [("int64", "scores"), ("uint8", "scores"), ("int32", "best")])
def test_tokens_as_the_c_takes_them(tmp_path: Path, dtype: str, outputs: str) -> None:
    """Compiled strictly, and main.c with it: its types are the model's."""
    work = text_workplace(tmp_path, dtype, outputs)
    work.run(emit.STAGE, "emit", check_random=100)
    main = (tmp_path / "emit/main.c").read_text()
    assert f"static {dtype}_t input[" in main
    assert ('printf("%lld%c", (long long)' if outputs == "best" else 'printf("%.9g%c", (double)') in main
    assert f"`model_run` takes {dtype} (1, 12), as stored" in (tmp_path / "emit/README.md").read_text()


@pytest.mark.slow
def test_the_example_reads_tokens(tmp_path: Path) -> None:
    work = text_workplace(tmp_path, "int32", "best")
    work.run(emit.STAGE, "emit")
    cache = {"ZIG_GLOBAL_CACHE_DIR": str(tmp_path / "zig"), "ZIG_LOCAL_CACHE_DIR": str(tmp_path / "zig")}
    command = [sys.executable, "-m", "ziglang", "cc", "-std=c99", "-o", "model", "main.c", "model.c", "model_weights.c"]
    subprocess.run([*command, "-lm"], cwd=tmp_path / "emit", env={**os.environ, **cache}, check=True)
    x = np.load(tmp_path / "data/test.npz")["x"]
    done = subprocess.run([tmp_path / "emit/model"], input=x.tobytes(), capture_output=True, check=True)
    best = onnx_files.Session(text_model("int32", "best"), 1).run(x)
    assert [int(line) for line in done.stdout.splitlines()] == best.tolist()
