"""Turns a sample into the input of the Cairo program in this folder: src/input.cairo, or call data as JSON.

    python prepare_input.py digit.png
    python prepare_input.py samples.npz --key x --index 3
    python prepare_input.py --base64 CAES... --output calldata.json

Takes an image, an npz or npy file, or an ONNX TensorProto in base64. Needs Python 3.9 and numpy, and pillow for images.
Samples are taken as stored (`input.json` says in which shape) and normalised as in training; `--normalised` says that
they already are. A sample of another length, with NaN, or beyond the program's range is refused.
"""

from __future__ import annotations

import argparse
import base64
import binascii
import json
import sys
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

HERE = Path(__file__).resolve().parent
CHUNK = 64


def refuse(message: str) -> NoReturn:
    sys.exit(f"prepare_input: {message}")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("file", nargs="?", help="an image, an npz or an npy file")
    parser.add_argument("--base64", help="an ONNX TensorProto in base64, in place of a file")
    parser.add_argument("--key", help="name of the array in an npz file with several")
    parser.add_argument("--index", type=int, default=0, help="which sample, if the array holds several (default: 0)")
    parser.add_argument("--normalised", action="store_true", help="the sample is the model's input already")
    parser.add_argument(
        "--output", default=str(HERE / "src" / "input.cairo"), help="a .cairo or .json file (default: src/input.cairo)"
    )
    given = parser.parse_args()
    contract = json.loads((HERE / "input.json").read_text(encoding="utf-8"))["inputs"][0]
    fixed = json.loads((HERE / "fixed_point.json").read_text(encoding="utf-8"))
    if (given.file is None) == (given.base64 is None):
        refuse("give either a file or --base64")
    if given.base64 is not None:
        sample = from_base64(given.base64)
    elif not Path(given.file).is_file():
        refuse(f"there is no file {given.file}")
    elif Path(given.file).suffix in (".npz", ".npy"):
        sample = from_numpy(Path(given.file), given.key)
    else:
        sample = from_image(Path(given.file), contract)
    raw = to_raw(one_sample(sample, contract, given.index), contract, fixed, given.normalised)
    weights = HERE / "weights.json"
    felts = raw + ([int(felt, 16) for felt in json.loads(weights.read_text())] if weights.exists() else [])
    output = Path(given.output)
    if output.suffix not in (".cairo", ".json"):
        refuse(f"--output is {output.name}: it must end in .cairo or .json")
    output.write_text(as_cairo(felts) if output.suffix == ".cairo" else json.dumps(felts) + "\n", encoding="utf-8")
    print(f"{output}: {len(felts)} felts")


def from_numpy(path: Path, key: str | None) -> Any:
    try:
        loaded = np.load(path, allow_pickle=False)
    except Exception as error:  # damage shows in whatever zipfile and numpy stumble over
        refuse(f"cannot read {path.name}: {error}")
    if isinstance(loaded, np.ndarray):
        return loaded
    names = list(loaded.files)
    if key is None and "x" in names:
        key = "x"
    if key is None and len(names) == 1:
        key = names[0]
    if key not in names:
        refuse(f"{path.name} holds {', '.join(names) or 'nothing'}: say which with --key")
    try:
        return loaded[key]
    except Exception as error:
        refuse(f"cannot read {key} of {path.name}: {error}")


def from_image(path: Path, contract: dict[str, Any]) -> Any:
    shape = contract["shape"]
    if len(shape) != 3 or shape[0] not in (1, 3):
        refuse(f"samples have shape {shape}, which is no image: give an npz file")
    try:
        from PIL import Image
    except ImportError:
        refuse("reading images needs pillow: pip install pillow")
    try:
        image = Image.open(path).convert("L" if shape[0] == 1 else "RGB")
    except Exception as error:  # damage shows in whatever Pillow's readers stumble over
        refuse(f"cannot read {path.name} as an image: {error}")
    if image.size != (shape[2], shape[1]):
        image = image.resize((shape[2], shape[1]), Image.Resampling.BILINEAR)
    pixels = np.asarray(image).reshape(shape[1], shape[2], shape[0]).transpose(2, 0, 1)
    return pixels if contract["stored_dtype"] == "uint8" else pixels / np.float32(255)


def from_base64(text: str) -> Any:
    """The fields of onnx.proto's TensorProto: dims 1, data_type 2, float_data 4, int32_data 5, raw_data 9, ..."""
    try:
        fields = protobuf(base64.b64decode(text, validate=True))
    except (binascii.Error, ValueError, IndexError):
        refuse("--base64 is no TensorProto in base64")
    kinds = {1: "<f4", 2: "u1", 3: "i1", 6: "<i4", 7: "<i8", 11: "<f8"}
    kind = next((value for number, value in fields if number == 2 and isinstance(value, int)), 0)
    if kind not in kinds:
        refuse(f"the TensorProto has data type {kind}; float, double, uint8, int8, int32 and int64 are possible")
    raw = b"".join(value for number, value in fields if number == 9 and isinstance(value, bytes))
    if raw:
        values = np.frombuffer(raw, kinds[kind])
    elif kind in (1, 11):
        number, dtype = (4, "<f4") if kind == 1 else (10, "<f8")
        values = np.frombuffer(b"".join(value for field, value in fields if field == number), dtype)
    else:
        number = 7 if kind == 7 else 5
        values = np.array([one for field, value in fields if field == number for one in varints(value)])
    dims = [one for number, value in fields if number == 1 for one in varints(value)]
    if dims and int(np.prod(dims)) != values.size:
        refuse(f"the TensorProto has dims {dims} and {values.size} values")
    return values.reshape(dims) if dims else values


def protobuf(data: bytes) -> list[tuple[int, Any]]:
    fields: list[tuple[int, Any]] = []
    at = 0
    while at < len(data):
        tag, at = varint(data, at)
        number, wire = tag >> 3, tag & 7
        if wire == 0:
            value, at = varint(data, at)
            fields.append((number, value))
            continue
        size, at = varint(data, at) if wire == 2 else ({1: 8, 5: 4}[wire] if wire in (1, 5) else -1, at)
        if size < 0 or at + size > len(data):
            raise ValueError
        fields.append((number, data[at : at + size]))
        at += size
    return fields


def varint(data: bytes, at: int) -> tuple[int, int]:
    value, shift = 0, 0
    while True:
        byte = data[at]
        value, shift, at = value | (byte & 127) << shift, shift + 7, at + 1
        if byte < 128:
            return value, at


def varints(value: Any) -> list[int]:
    """A single number, or a packed list; 64 bits, signed."""
    found, at = [], 0
    if isinstance(value, int):
        found = [value]
    else:
        while at < len(value):
            one, at = varint(value, at)
            found.append(one)
    return [one - 2**64 if one >= 2**63 else one for one in found]


def one_sample(sample: Any, contract: dict[str, Any], index: int) -> Any:
    shape = tuple(contract["shape"])
    size = int(np.prod(shape))
    if sample.dtype.kind not in "fiub":
        refuse(f"the sample holds {sample.dtype}, not numbers")
    if sample.ndim == len(shape) + 1 and sample.shape[1:] == shape:
        if not 0 <= index < len(sample):
            refuse(f"--index is {index}, and there are {len(sample)} samples")
        return sample[index]
    if sample.size != size:
        refuse(
            f"the sample has {sample.size} numbers, in shape {list(sample.shape)}; the program takes {size}: {shape}"
        )
    return sample.reshape(shape)


def to_raw(sample: Any, contract: dict[str, Any], fixed: dict[str, Any], normalised: bool) -> list[int]:
    wide = sample.astype(np.float64)
    if not np.isfinite(wide).all():
        refuse(f"the sample holds NaN or infinity, first at element {int(np.argmin(np.isfinite(wide).ravel()))}")
    values = sample.astype(np.float32)
    if not normalised:
        if contract["stored_dtype"] == "uint8" and (
            wide.min() < 0 or wide.max() > 255 or (wide != np.rint(wide)).any()
        ):
            refuse("samples are stored as whole numbers from 0 to 255: if this one is normalised, add --normalised")
        axes = (-1,) + (1,) * (values.ndim - 1)
        mean, std = (np.asarray(contract[key], np.float32).reshape(axes) for key in ("mean", "std"))
        values = (values / np.float32(contract["divisor"]) - mean) / std
    raw = np.rint(values.astype(np.float64) * 2.0 ** fixed["fraction_bits"]).ravel()
    outside = (raw < fixed["low"]) | (raw > fixed["high"])
    if outside.any():
        one = 2.0 ** fixed["fraction_bits"]
        at = int(np.argmax(outside))
        refuse(
            f"element {at} is {raw[at] / one:g}; the program takes {fixed['low'] / one:g} to {fixed['high'] / one:g} "
            f"in {fixed['format']}"
        )
    return [int(value) for value in raw]


def as_cairo(felts: list[int]) -> str:
    parts = [felts[start : start + CHUNK] for start in range(0, len(felts), CHUNK)]
    lines = ["use core::array::ArrayTrait;", "use core::internal::revoke_ap_tracking;", ""]
    # the compiler cannot reach 2^15 cells back, which so many appends may write
    lines += ["fn input() -> Array<felt252> {", "    revoke_ap_tracking();"]
    lines += ["    let mut data = ArrayTrait::new();", *(f"    part{index}(ref data);" for index in range(len(parts)))]
    lines += ["    data", "}", ""]
    for index, part in enumerate(parts):
        lines += ["#[inline(never)]", f"fn part{index}(ref data: Array<felt252>) {{"]
        lines += [*(f"    data.append({felt});" for felt in part), "}", ""]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
