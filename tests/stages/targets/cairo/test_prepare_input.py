# environment: cairo
from __future__ import annotations

import base64
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from PIL import Image

from recast.stages.common import dataset
from recast.stages.targets.cairo.codegen import program_input
from tests.lib.cairo.chain import emitted, workplace


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    work = workplace(tmp_path_factory.mktemp("emitted"))
    emitted(work)
    return work.root


def prepare(folder: Path, *arguments: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-I", str(folder / "emit" / "prepare_input.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def prepared(folder: Path, to: Path, *arguments: Any) -> list[int]:
    done = prepare(folder, *arguments, "--output", to / "calldata.json")
    assert done.returncode == 0, done.stderr
    felts: list[int] = json.loads((to / "calldata.json").read_text())
    return felts


def test_an_npz_an_image_and_a_tensor_give_what_verify_gives_the_vm(folder: Path, tmp_path: Path) -> None:
    stored, _ = dataset.read_stored(folder / "data", "test")
    expected = program_input.read(folder / "emit").raw(stored[5:6]).ravel().tolist()
    assert len(set(expected)) > 5
    assert prepared(folder, tmp_path, folder / "data" / "test.npz", "--index", 5) == expected
    Image.fromarray(stored[5, 0]).save(tmp_path / "digit.png")
    assert prepared(folder, tmp_path, tmp_path / "digit.png") == expected
    np.save(tmp_path / "one.npy", stored[5])
    assert prepared(folder, tmp_path, tmp_path / "one.npy") == expected
    floats = dataset.read_contract(folder / "emit").normalise(stored[5:6])
    for tensor in (
        onnx.numpy_helper.from_array(floats),
        onnx.helper.make_tensor("", onnx.TensorProto.FLOAT, floats.shape, floats.ravel().tolist()),
        onnx.helper.make_tensor("", onnx.TensorProto.DOUBLE, floats.shape, floats.ravel().tolist()),
    ):
        text = base64.b64encode(tensor.SerializeToString()).decode()
        assert prepared(folder, tmp_path, "--base64", text, "--normalised") == expected
    tensor = onnx.helper.make_tensor("", onnx.TensorProto.UINT8, stored[5].shape, stored[5].ravel().tolist())
    assert prepared(folder, tmp_path, "--base64", base64.b64encode(tensor.SerializeToString()).decode()) == expected


def test_the_cairo_file_it_writes_is_the_one_emit_writes(folder: Path) -> None:
    path = folder / "emit" / "src" / "input.cairo"
    before = path.read_text()
    done = prepare(folder, folder / "data" / "calibration.npz", "--index", 0)
    assert done.returncode == 0, done.stderr
    assert path.read_text() == before
    assert len(re.findall(r"append", before)) == 64


@pytest.mark.parametrize(
    ("sample", "arguments", "message"),
    [
        (np.zeros((3, 8, 7), np.uint8), [], r"the sample has 168 numbers, in shape \[3, 8, 7\]; the program takes 64"),
        (np.full((1, 8, 8), np.nan), ["--normalised"], "NaN or infinity, first at element 0"),
        (np.full((1, 8, 8), 2.5), ["--normalised"], "element 0 is 2.5; the program takes -1 to 1 in FP16x16"),
        (np.full((1, 8, 8), 1e300), ["--normalised"], "NaN or infinity|element 0 is"),
        (np.full((1, 8, 8), 0.5), [], "whole numbers from 0 to 255: if this one is normalised, add --normalised"),
        (np.full((1, 8, 8), 256), [], "whole numbers from 0 to 255"),
        (np.zeros((4, 1, 8, 8), np.uint8), ["--index", "4"], "--index is 4, and there are 4 samples"),
        (np.full((1, 8, 8), "a"), [], "not numbers"),
    ],
)
def test_bad_samples_are_refused(folder: Path, tmp_path: Path, sample: Any, arguments: list[str], message: str) -> None:
    np.save(tmp_path / "bad.npy", sample)
    done = prepare(folder, tmp_path / "bad.npy", *arguments, "--output", tmp_path / "out.json")
    assert done.returncode == 1
    assert re.search(message, done.stderr)
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out.json").exists()


def test_bad_files_and_arguments_are_refused(folder: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "two.npz", a=np.zeros(1), b=np.zeros(1))
    (tmp_path / "damaged.npz").write_bytes(b"PK\x03\x04")
    (tmp_path / "pickled.npy").write_bytes(b"")
    np.save(tmp_path / "pickled.npy", np.array([{}], dtype=object), allow_pickle=True)
    (tmp_path / "text.png").write_text("no image")
    for arguments, message in (
        ([tmp_path / "two.npz"], "holds a, b: say which with --key"),
        ([tmp_path / "damaged.npz"], "cannot read damaged.npz"),
        ([tmp_path / "pickled.npy"], "cannot read pickled.npy"),
        ([tmp_path / "text.png"], "cannot read text.png as an image"),
        ([tmp_path / "absent.npz"], "there is no file"),
        (["--base64", "!!"], "is no TensorProto"),
        (["--base64", "CAFz"], "is no TensorProto|data type 0"),
        ([], "give either a file or --base64"),
        ([folder / "data" / "test.npz", "--output", tmp_path / "out.txt"], "must end in .cairo or .json"),
    ):
        done = prepare(folder, *arguments)
        assert done.returncode == 1, arguments
        assert re.search(message, done.stderr), done.stderr
        assert "Traceback" not in done.stderr
