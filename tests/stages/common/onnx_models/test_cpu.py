# environment: onnx
from __future__ import annotations

import subprocess
import sys

import pytest

from recast.stages.common.onnx_models import cpu
from tests.lib import without_vnni

SKYLAKE = {"SSE2", "SSE41", "AVX", "AVX2", "AVX512F", "AVX512BW", "AVX512DQ", "AVX512VL"}


@pytest.mark.parametrize(
    ("machine", "features", "exact", "kind"),
    [
        ("x86_64", {*SKYLAKE, "AVX512VNNI"}, True, "x86-64, AVX-512 with VNNI"),
        ("x86_64", SKYLAKE, False, "x86-64, AVX-512 without VNNI"),
        ("x86_64", {"SSE2", "SSE41", "AVX", "AVX2"}, False, "x86-64, AVX2 without VNNI"),
        # Alder Lake: numpy knows no name for its VNNI, but it does not saturate
        ("x86_64", {"SSE2", "SSE41", "AVX", "AVX2"}, True, "x86-64, AVX2 with VNNI"),
        ("x86_64", {"SSE2", "SSE41"}, True, "x86-64, SSE4.1 without VNNI"),
        ("arm64", {"NEON", "ASIMD", "ASIMDDP"}, True, "arm64, NEON with dot product"),
        ("arm64", {"NEON", "ASIMD"}, True, "arm64, NEON without dot product"),
        ("riscv64", set(), True, "riscv64"),
    ],
)
def test_a_kind_has_a_name(machine: str, features: set[str], exact: bool, kind: str) -> None:
    assert cpu.named(machine, features, exact) == kind


def test_the_kind_of_this_machine_is_printed_for_the_runner() -> None:
    printed = subprocess.run(
        [sys.executable, "-m", "recast.stages.common.onnx_models.cpu"], capture_output=True, text=True, check=True
    ).stdout
    assert printed == f"{cpu.kind()}\n"
    assert ("with VNNI" in printed) != ("without VNNI" in printed) or "x86" not in printed


def test_an_emulated_cpu_is_told_from_its_host() -> None:
    said = without_vnni.python(
        "-c", "from recast.stages.common.onnx_models import cpu; print(cpu.kind(), cpu.sums_saturate())"
    )
    assert said == "x86-64, AVX2 without VNNI True\n"
