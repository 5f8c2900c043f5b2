# environment: wasm
from __future__ import annotations

import base64
import functools
import json
import re
import shutil
import subprocess
import sys
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from recast.stages.common.onnx_models import onnx_files
from recast.stages.targets.wasm import emit
from recast.stages.targets.wasm.clients.model import InputError, Model, read_tensor_proto
from recast.stages.targets.wasm.project import CLIENTS
from tests.lib.contracts import contract as contract_of
from tests.lib.onnx_models import CONTRACT, Workplace, cnn
from tests.lib.wasm.browser import Page, chromium, program
from tests.lib.wasm.emitted import WORDS, emitted, expected, stored, text_model, text_workplace

NODE = """\
import {{ load, hasSimd, readTensorProto }} from {client};
const model = await load();
const tries = {tries}.map((run) => {{
  try {{ return Array.from(run(model)); }} catch (error) {{ return `${{error.name}}: ${{error.message}}`; }}
}});
console.log(JSON.stringify({{ simd: hasSimd(), tries }}));
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return emitted(tmp_path_factory.mktemp("wasm"), engine="native").root / "emit"


@pytest.fixture(scope="module")
def page(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    with chromium(tmp_path_factory.mktemp("profile")) as tab:
        yield tab


def tensor(values: Any, raw: bool = True, name: str = "image") -> str:
    """Base64 of the TensorProto that onnx makes, with its values raw or one by one."""
    made = onnx.numpy_helper.from_array(np.asarray(values), name)
    if not raw:
        kind = onnx.helper.np_dtype_to_tensor_dtype(values.dtype)
        made = onnx.helper.make_tensor(name, kind, values.shape, values.ravel().tolist())
    return base64.b64encode(made.SerializeToString()).decode()


def packed_dims(values: Any) -> str:
    """As other writers of protobuf make it: the axes in one field."""
    dims = bytes(values.shape)
    raw = values.tobytes()
    length = len(raw) & 127 | 128, len(raw) >> 7
    return base64.b64encode(bytes([10, len(dims)]) + dims + bytes([16, 1, 74, *length]) + raw).decode()


SAMPLES = CONTRACT.normalise(stored(2))
WRONG = {
    "not base64!": "the tensor is not base64",
    tensor(SAMPLES.astype(np.float64)): "the tensor has data_type 11; it must be 1, float32",
    tensor(SAMPLES[:, :, :4]): r"the tensor has shape \(2, 1, 4, 8\)|the input has shape \(2, 1, 4, 8\)",
    tensor(SAMPLES[0]): r"shape \(1, 8, 8\); the model takes \(N, 1, 8, 8\)",
    tensor(np.full((1, 1, 8, 8), np.nan, np.float32)): "the input holds NaN",
    tensor(SAMPLES)[:400]: "the tensor is no TensorProto, or it is cut short",
    base64.b64encode(b"\x08\x02\x10\x01\x4a\x04\0\0\0\0").decode(): r"the tensor has shape \(2\), but 1 values",
    base64.b64encode(b"\x08\x01\x10\x01\x4a\x03\0\0\0").decode(): "no whole number of float32 values",
    base64.b64encode(b"\x08\x01\x10\x01\x48\x03").decode(): "no TensorProto: its data is a number",
    base64.b64encode(b"\x08\x01\x10\x01\x70\x01").decode(): "the tensor's data lies in another file",
    base64.b64encode(b"\x0b").decode(): "no TensorProto: an unknown wire type",
}
"""base64 text -> what every client says of it"""


def node(folder: Path, tries: list[str]) -> dict[str, Any]:
    """What model.js gives in Node for JavaScript functions of the model."""
    script = NODE.format(client=json.dumps(f"{folder.as_uri()}/model.js"), tries=f"[{', '.join(tries)}]")
    command = [program("node"), "--input-type=module", "--eval", script]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd="/")
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def literal(values: Any) -> str:
    return f"new Float32Array({json.dumps(np.asarray(values, np.float64).ravel().tolist())})"


# Python


def test_python_gives_onnxruntime_s_scores_with_both_modules(folder: Path) -> None:
    samples = stored()
    for simd in (True, False):
        model = Model(folder, simd)
        np.testing.assert_array_equal(model.normalise(samples), CONTRACT.normalise(samples))
        np.testing.assert_allclose(model.predict(model.normalise(samples)), expected(cnn(), samples), atol=1e-5)


@pytest.mark.parametrize("form", [tensor(SAMPLES), tensor(SAMPLES, raw=False), packed_dims(SAMPLES)])
def test_python_and_node_take_every_form_of_tensor(folder: Path, form: str) -> None:
    scores = expected(cnn(), stored(2))
    np.testing.assert_allclose(Model(folder).predict_tensor_proto(form), scores, atol=1e-5)
    found = node(folder, [f"(model) => model.predictTensorProto({json.dumps(form)})"])
    np.testing.assert_allclose(found["tries"][0], scores.ravel(), atol=1e-5)


def test_every_client_refuses_a_wrong_tensor_in_the_same_words(folder: Path) -> None:
    model = Model(folder)
    found = node(folder, [f"(model) => model.predictTensorProto({json.dumps(text)})" for text in WRONG])
    for (text, message), said in zip(WRONG.items(), found["tries"], strict=True):
        assert str(said).startswith("InputError: ") and re.search(message, said), said
        with pytest.raises(InputError, match=message):
            model.predict_tensor_proto(text)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        ([1.0], "the input is list; it must be an array of float32"),
        (np.zeros((1, 1, 8, 8)), "the input is float64"),
        (np.zeros((1, 8, 8), np.float32), r"the input has shape \(1, 8, 8\); the model takes \(N, 1, 8, 8\)"),
        (np.zeros((0, 1, 8, 8), np.float32), r"the input has shape \(0, 1, 8, 8\)"),
        (np.full((1, 1, 8, 8), np.inf, np.float32), "the input holds NaN or infinity"),
    ],
)
def test_python_refuses_wrong_arrays(folder: Path, x: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Model(folder).predict(x)
    with pytest.raises(InputError, match="the tensor is bytes; it must be base64 text"):
        read_tensor_proto(b"AAAA")  # type: ignore[arg-type]


def test_the_emitted_python_file_runs_alone(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "input.txt").write_text(tensor(SAMPLES))
    command = [sys.executable, "-I", str(folder / "model.py"), str(tmp_path / "input.txt")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    printed = np.array([line.split() for line in done.stdout.splitlines()], np.float32)
    np.testing.assert_allclose(printed, expected(cnn(), stored(2)), atol=1e-4)


# Node


def test_node_gives_onnxruntime_s_scores(folder: Path) -> None:
    samples = stored()
    raw = f"Uint8Array.of({','.join(map(str, samples.ravel()))})"
    found = node(folder, [f"(model) => model.predict(model.normalise({raw}))", f"(model) => model.normalise({raw})"])
    assert found["simd"] is True
    np.testing.assert_allclose(found["tries"][0], expected(cnn(), samples).ravel(), atol=1e-5)
    np.testing.assert_array_equal(np.float32(found["tries"][1]), CONTRACT.normalise(samples).ravel())


def test_node_computes_several_samples_at_once(tmp_path: Path) -> None:
    batched = emitted(tmp_path, batch=4, engine="native").root / "emit"
    samples = stored(6)  # no multiple of the batch
    found = node(batched, [f"(model) => model.predict({literal(CONTRACT.normalise(samples))})"])
    np.testing.assert_allclose(found["tries"][0], expected(cnn(), samples).ravel(), atol=1e-5)


def test_without_simd_node_takes_the_other_module(folder: Path, tmp_path: Path) -> None:
    for file in folder.iterdir():
        if file.name != "model.wasm":
            (tmp_path / file.name).write_bytes(file.read_bytes())
    script = f"""\
      WebAssembly.validate = () => false;
      const {{ load, hasSimd }} = await import({json.dumps(f"{tmp_path.as_uri()}/model.js")});
      const model = await load();
      console.log(JSON.stringify([hasSimd(), ...model.predict({literal(SAMPLES)})]));
    """
    command = [program("node"), "--input-type=module", "--eval", script]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    simd, *scores = json.loads(done.stdout)
    assert simd is False
    np.testing.assert_allclose(scores, expected(cnn(), stored(2)).ravel(), atol=1e-5)


def test_node_refuses_wrong_arrays(folder: Path) -> None:
    found = node(
        folder,
        [
            "(model) => model.predict([1, 2])",
            "(model) => model.predict(null)",
            "(model) => model.predict(new Float32Array(65))",
            "(model) => model.predict(new Float32Array(0))",
            "(model) => model.predict(new Float32Array(64).fill(NaN, 3, 4))",
            "(model) => model.predictTensorProto(7)",
        ],
    )
    needs = "a sample of 1×8×8 has 64, and only whole samples run"
    assert found["tries"] == [
        "InputError: the input is Array; it must be a Float32Array",
        "InputError: the input is null; it must be a Float32Array",
        f"InputError: the input has 65 values; {needs}",
        f"InputError: the input has 0 values; {needs}",
        "InputError: the input holds NaN, first at 3",
        "InputError: the tensor is Number; it must be base64 text",
    ]


# whole numbers


@pytest.fixture(scope="module")
def text_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    work = text_workplace(tmp_path_factory.mktemp("text"))
    work.run(emit.STAGE, "emit", engine="native")
    return work.root / "emit"


TOKENS = np.random.default_rng(5).integers(-WORDS, WORDS, (3, 12))


def test_clients_take_tokens_in_any_array_of_whole_numbers(text_folder: Path) -> None:
    scores = onnx_files.Session(text_model(), 1).run(TOKENS)
    model = Model(text_folder)
    for dtype in (np.int64, np.int8, np.int32):
        np.testing.assert_allclose(model.predict(model.normalise(TOKENS.astype(dtype))), scores, atol=1e-5)
    for form in (tensor(TOKENS), tensor(TOKENS, raw=False)):
        np.testing.assert_allclose(model.predict_tensor_proto(form), scores, atol=1e-5)
    numbers = json.dumps(TOKENS.ravel().tolist())
    tries = [f"{numbers}", f"Int32Array.from({numbers})", f"BigInt64Array.from({numbers}, BigInt)"]
    tries = [f"(model) => model.predict(model.normalise({each}))" for each in tries]
    tries += [f"(model) => model.predictTensorProto({json.dumps(tensor(TOKENS, raw))})" for raw in (True, False)]
    for found in node(text_folder, tries)["tries"]:
        np.testing.assert_allclose(found, scores.ravel(), atol=1e-5)


def test_clients_refuse_what_is_no_token(text_folder: Path) -> None:
    model = Model(text_folder)
    wrong = TOKENS.copy()
    wrong[1, 2] = WORDS
    for given, message in (
        (TOKENS.astype(np.float32), "the input is float32; it must be an array of integers"),
        (wrong, f"the input holds {WORDS}; the model takes -{WORDS} to {WORDS - 1}"),
        (wrong - 100, "the input holds -120"),
        (TOKENS[:, :5], r"the input has shape \(3, 5\); the model takes \(N, 12\)"),
    ):
        with pytest.raises(InputError, match=message):
            model.predict(given)
    with pytest.raises(InputError, match="the tensor has data_type 1; it must be 7, int64"):
        model.predict_tensor_proto(tensor(TOKENS.astype(np.float32)))
    tokens = json.dumps(TOKENS[0].tolist())
    tries = [f"(model) => model.predict({tokens}.with(3, {value}))" for value in ("1.5", "20", "-21n", "null")]
    tries += ["(model) => model.predict('text')", "(model) => model.predict([1, 2])"]
    tries += [f"(model) => model.predictTensorProto({json.dumps(tensor(TOKENS.astype(np.float32)))})"]
    limits = "first at 3; the model takes whole numbers from -20 to 19"
    assert node(text_folder, tries)["tries"] == [
        *(f"InputError: the input holds {value}, {limits}" for value in ("1.5", "20", "-21", "null")),
        "InputError: the input is String; it must be an array of whole numbers",
        "InputError: the input has 2 values; a sample of 12 has 12, and only whole samples run",
        "InputError: the tensor has data_type 1; it must be 7, int64",
    ]


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "bool"])
def test_a_tensor_of_whole_numbers_is_read_exactly(dtype: str) -> None:
    kind = np.dtype(dtype)
    ends = [0, 1] if dtype == "bool" else [np.iinfo(kind).min, np.iinfo(kind).max, 1]
    values = np.array(ends, kind)
    for raw in (True, False):
        found = read_tensor_proto(tensor(values, raw), dtype)
        assert found.dtype == kind and found.tolist() == values.tolist()
    script = f"""import {{ readTensorProto }} from {json.dumps((CLIENTS.path / "model.js").as_uri())};
    for (const text of {json.dumps([tensor(values), tensor(values, raw=False)])})
      console.log(Array.from(readTensorProto(text, "{dtype}").values, String).join());"""
    done = subprocess.run([program("node"), "--input-type=module", "--eval", script], capture_output=True, text=True)
    assert done.stdout.split() == [",".join(str(int(value)) for value in ends)] * 2, done.stderr


# the page


def shown(page: Page) -> tuple[str, str, list[float]]:
    """What the input is called, the class, and the scores in the order of the classes."""
    rows = page.js("[...document.querySelectorAll('#rows tr')].map((row) => [row.dataset.class, row.dataset.value])")
    texts = page.js("['of', 'class'].map((id) => document.getElementById(id).textContent)")
    return texts[0], texts[1], [float(score) for _, score in sorted(rows, key=lambda row: int(row[0]))]


def image(samples: Any, path: Path, scale: int = 1) -> Path:
    """A grey PNG of one stored sample (1, H, W), by zlib alone."""
    import struct
    import zlib

    pixels = samples[0].repeat(scale, 0).repeat(scale, 1)
    head = struct.pack(">IIBBBBB", pixels.shape[1], pixels.shape[0], 8, 0, 0, 0, 0)
    body = zlib.compress(b"".join(b"\0" + row.tobytes() for row in pixels))
    parts = [(b"IHDR", head), (b"IDAT", body), (b"IEND", b"")]
    chunks = [
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in parts
    ]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunks))
    return path


def opened(page: Page, folder: Path) -> None:
    page.open(folder / "index.html")
    page.wait("document.querySelectorAll('#rows tr').length === 4")


@pytest.mark.slow
def test_the_page_runs_a_sample_of_each_class_from_a_file(page: Page, folder: Path) -> None:
    opened(page, folder)
    assert page.js("document.querySelectorAll('#samples button').length") == 4
    for number, name in enumerate(CONTRACT.classes):
        page.js(f"document.querySelectorAll('#samples button')[{number}].click()")
        label, chosen, _ = shown(page)
        assert label == f"Sample {number + 1}: {name}" and chosen == name
    assert page.js("document.querySelectorAll('#samples [aria-pressed=true]').length") == 1
    page.js("document.getElementById('measure').click()")
    said = page.js("document.getElementById('time').textContent")
    median, fastest = map(float, re.fullmatch(r"Median of \d+ runs: ([\d.]+) ms, fastest ([\d.]+) ms", said).groups())
    assert 0 < fastest <= median
    assert not page.console


@pytest.mark.slow
@pytest.mark.parametrize("scale", [1, 4])
def test_the_page_runs_a_chosen_image_resized(page: Page, folder: Path, tmp_path: Path, scale: int) -> None:
    opened(page, folder)
    sample = stored(1)
    page.choose("#file", image(sample[0], tmp_path / "quadrant.png", scale))
    page.wait("document.getElementById('of').textContent === 'quadrant.png'")
    np.testing.assert_allclose(shown(page)[2], expected(cnn(), sample)[0], atol=1e-4)


@pytest.mark.slow
def test_the_page_runs_a_dropped_image(page: Page, folder: Path, tmp_path: Path) -> None:
    opened(page, folder)
    sample = stored(3)[2:]
    content = base64.b64encode(image(sample[0], tmp_path / "x.png").read_bytes()).decode()
    page.js(
        f"""(() => {{
          const bytes = Uint8Array.from(atob("{content}"), (character) => character.charCodeAt(0));
          const dataTransfer = new DataTransfer();
          dataTransfer.items.add(new File([bytes], "dropped.png", {{ type: "image/png" }}));
          document.body.dispatchEvent(new DragEvent("drop", {{ dataTransfer, bubbles: true, cancelable: true }}));
        }})()"""
    )
    page.wait("document.getElementById('of').textContent === 'dropped.png'")
    np.testing.assert_allclose(shown(page)[2], expected(cnn(), sample)[0], atol=1e-4)


@pytest.mark.slow
def test_the_page_says_that_a_file_is_no_image(page: Page, folder: Path, tmp_path: Path) -> None:
    opened(page, folder)
    (tmp_path / "text.png").write_text("no image")
    page.choose("#file", tmp_path / "text.png")
    said = page.wait("!document.getElementById('error').hidden && document.getElementById('error').textContent")
    assert said.startswith("text.png cannot be read as an image: ")


@pytest.mark.slow
def test_the_page_asks_for_nothing_and_fits_a_narrow_window(page: Page, folder: Path, tmp_path: Path) -> None:
    opened(page, folder)
    page.screenshot(tmp_path / "narrow.png", 320, 800)
    assert page.js("document.documentElement.scrollWidth") == 320
    assert (tmp_path / "narrow.png").stat().st_size > 5000
    html = (folder / "index.html").read_text()
    assert not re.search(r"""(?:src|href)=["'](?!data:)""", html) and "{{" not in html.partition("<script")[0]


@pytest.mark.slow
def test_a_page_of_one_s_own_loads_the_module_from_a_server(page: Page, folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    (tmp_path / "own.html").write_text("<!doctype html><title>own</title>")
    handler = functools.partial(SimpleHTTPRequestHandler, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        page.open(f"http://127.0.0.1:{server.server_port}/own.html")
        run = f"(async () => Array.from((await (await import('/model.js')).load()).predict({literal(SAMPLES)})))()"
        scores = page.js(run)
        elsewhere = "import('/model.js').then((client) => client.load(new URL('/none/', location)))"
        failed = page.js(f"{elsewhere}.catch((error) => error.message)")
        server.shutdown()
    np.testing.assert_allclose(scores, expected(cnn(), stored(2)).ravel(), atol=1e-5)
    assert failed.endswith("/none/input.json: 404 File not found")


@pytest.mark.slow
def test_a_page_whose_module_is_damaged_says_so(page: Page, folder: Path, tmp_path: Path) -> None:
    text = (folder / "index.html").read_text()
    (tmp_path / "index.html").write_text(text.replace('"module": "AGFzbQ', '"module": "AGFzbA'))
    page.open(tmp_path / "index.html")
    said = page.wait("!document.getElementById('error').hidden && document.getElementById('error').textContent")
    assert said.startswith("The model cannot be started: ")


@pytest.mark.slow
def test_features_instead_of_images(tmp_path: Path, page: Page) -> None:
    """No drop zone, and samples by name."""
    from recast.stages.targets.wasm import calibrate, emit, quantize
    from tests.lib.onnx_models import initializer, model, write_data, write_export

    gemm = onnx.helper.make_node("Gemm", ["image", "head"], ["scores"], "node_head")
    head = initializer("head", np.random.default_rng(0).normal(size=(64, 4)))
    made = model([gemm], [head], ("batch", 64))
    contract = contract_of("points", (64,), "float32", 1.0, (0.5,), (2.0,), ("a<b", "b", "c", "d"))
    write_data(tmp_path / "data", contract)
    write_export(tmp_path / "export", made, tmp_path / "data")
    (tmp_path / "simplify").mkdir()
    onnx.save(made, tmp_path / "simplify/model.onnx")
    work = Workplace(tmp_path)
    work.run(quantize.STAGE, "quantize")
    work.run(calibrate.STAGE, "calibrate")
    work.run(emit.STAGE, "emit")
    page.open(tmp_path / "emit/index.html")
    page.wait("document.querySelectorAll('#rows tr').length === 4")
    assert page.js("document.getElementById('drop').hidden") is True
    assert page.js("document.querySelector('#samples button').textContent") == "a<b"
    assert page.js("document.getElementById('pictures').hidden") is True
