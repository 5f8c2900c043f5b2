# environment: onnx
from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from recast.stages.base import StageError
from recast.stages.common.onnx_models import onnx_files
from recast.stages.common.vendor_errors import LONGEST, first_line, foreign, refuse_if_killed
from recast.stages.trunk.rewrites import folding


def refusal(error: Exception) -> StageError:
    with pytest.raises(StageError) as caught, foreign("the tool cannot do it", "do something else"):
        raise error
    return caught.value


def test_what_a_tool_raises_becomes_a_stage_error_with_its_traceback_in_the_log(
    capfd: pytest.CaptureFixture[str],
) -> None:
    error = refusal(RuntimeError("no such kernel\nmore of it"))
    assert (error.message, error.remedy) == ("the tool cannot do it: no such kernel", "do something else")
    assert "Traceback (most recent call last)" in capfd.readouterr().out


@pytest.mark.parametrize("error", [StageError("ours", "mend it"), MemoryError()])
def test_errors_that_are_understood_already_pass(error: Exception) -> None:
    with pytest.raises(type(error)) as caught, foreign("the tool cannot do it", "do something else"):
        raise error
    assert caught.value is error


def test_a_fault_of_ours_that_a_tool_called_back_is_not_blamed_on_the_tool() -> None:
    with pytest.raises(AttributeError), foreign("the tool cannot do it", "do something else"):
        # a function of ours that fails, behind one that is not in the folder of the stages
        list(map(folding.fold, [None]))


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("\x1b[31mNo kernel\x1b[0m for it", "No kernel for it"),
        ("\n  \n---\nthe cause\nmore", "the cause"),
        ("[ONNXRuntimeError] : 1 : FAIL : Load failed", "Load failed"),
        (
            "[ONNXRuntimeError] : 1 : FAIL : /onnxruntime_src/onnxruntime/core/graph/model.cc:150 onnxruntime::Model::"
            "Model(onnx::ModelProto&&, const onnxruntime::PathString&) Unsupported model IR version: 99",
            "Unsupported model IR version: 99",
        ),
        (
            "in /home/me/.recast/envs/x/lib/python3.11/site-packages/tool/core.py the shape is wrong",
            "in the shape is wrong",
        ),
        ("onnx.onnx_cpp2py_export.checker.ValidationError: RuntimeError: it is wrong", "it is wrong"),
        (
            "[ShapeInferenceError] Inference error(s): (op_type:Add, node name: a): [ShapeInferenceError] 5 and 122",
            "(op_type:Add, node name: a): 5 and 122",
        ),
        ("x" * 2 * LONGEST, "x" * (LONGEST - 1) + "…"),
        ("", "it does not say why"),
    ],
)
def test_first_line(said: str, shown: str) -> None:
    assert first_line(RuntimeError(said)) == shown == first_line(said)


def test_what_python_says_of_a_program_is_called_an_error_inside_the_tool() -> None:
    assert first_line(KeyError("y")) == "an error inside it ('y')"
    assert first_line(IndexError()) == "an error inside it"


def test_a_real_refusal_of_onnxruntime_is_plain() -> None:
    import onnx

    node = onnx.helper.make_node("Frobnicate", ["image"], ["scores"])
    port = [onnx.helper.make_tensor_value_info(name, 1, [1, 4]) for name in ("image", "scores")]
    model = onnx.helper.make_model(
        onnx.helper.make_graph([node], "g", port[:1], port[1:]),
        ir_version=8,
        opset_imports=[onnx.helper.make_opsetid("", 18)],
    )
    with pytest.raises(StageError) as caught:
        onnx_files.Session(model, threads=1)
    assert "Frobnicate" in caught.value.message
    assert not [word for word in ("Error:", "FAIL", "::", "site-packages", ".cc") if word in caught.value.message]
    assert caught.value.remedy


def ended(code: str) -> int:
    return subprocess.run([sys.executable, "-c", f"import os, subprocess, sys; {code}"], check=False).returncode


@pytest.mark.parametrize(
    "code",
    [
        "os.kill(os.getpid(), 9)",
        "sys.exit(subprocess.call(['sh', '-c', 'kill -KILL $$']))",
        "sys.exit(subprocess.call('sh -c \"kill -KILL \\$\\$\"; exit $?', shell=True))",
    ],
)
def test_what_linux_ends_for_want_of_memory_is_not_taken_for_a_refusal(code: str) -> None:
    """By itself, below Python, as zig is, and below a shell."""
    with pytest.raises(StageError, match=r"^zig was ended by SIGKILL, most likely because the machine ran out"):
        refuse_if_killed("zig", ended(code), "use a smaller model")


def test_a_crash_is_called_one_and_an_ordinary_end_is_none() -> None:
    with pytest.raises(StageError, match=r"^zig crashed \(SIGSEGV\)$"):
        refuse_if_killed("zig", ended(f"os.kill(os.getpid(), {int(signal.SIGSEGV)})"), "use a smaller model")
    for code in ("sys.exit(0)", "sys.exit(1)", "sys.exit(2)"):
        refuse_if_killed("zig", ended(code), "use a smaller model")
