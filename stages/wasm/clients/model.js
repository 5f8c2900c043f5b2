// Runs model.wasm in browsers and in Node: an ES module without dependencies.
//
//   import { load } from "./model.js";
//   const model = await load();
//   const scores = model.predict(model.normalise(pixels));

/** Wrong input; the message says what was found and what is needed. */
export class InputError extends Error {
  name = "InputError";
}

/** The model beside this file, or in the folder at `base`: input.json and the variant this machine can run. */
export async function load(base = new URL(".", import.meta.url)) {
  const contract = JSON.parse(new TextDecoder().decode(await read(new URL("input.json", base))));
  const file = hasSimd() ? "model.wasm" : "model.nosimd.wasm";
  return Model.create(contract, await read(new URL(file, base)));
}

/** Whether this machine runs WebAssembly with SIMD: a module with one vector constant is valid. */
export function hasSimd() {
  return WebAssembly.validate(
    // prettier-ignore
    new Uint8Array([
      0, 97, 115, 109, 1, 0, 0, 0, // the magic number, version 1
      1, 5, 1, 96, 0, 1, 123, // a function without arguments that gives a v128
      3, 2, 1, 0,
      10, 10, 1, 8, 0, 65, 0, 253, 15, 253, 98, 11, // i32.const 0; i8x16.splat; i8x16.popcnt
    ]),
  );
}

/** One instance of the module. Not for two calls at once: they share its memory. */
export class Model {
  #exports;

  /** @param contract what input.json holds  @param bytes the WebAssembly module */
  static async create(contract, bytes) {
    const { instance } = await WebAssembly.instantiate(bytes, {});
    return new Model(contract, instance);
  }

  constructor(contract, instance) {
    this.contract = contract;
    this.#exports = instance.exports;
  }

  /** Samples as stored (one after another, each of `contract.shape`) -> the model's input. */
  normalise(stored) {
    const { shape, divisor, mean, std } = this.contract;
    const size = product(shape);
    const plane = size / shape[0];
    const { fround } = Math; // as float32, step by step, so that every client computes the same input
    return Float32Array.from(stored, (value, index) => {
      const channel = Math.floor((index % size) / plane);
      const scaled = fround(fround(value) / fround(divisor));
      return fround(fround(scaled - fround(at(mean, channel))) / fround(at(std, channel)));
    });
  }

  /** One sample or several, normalised, one after another -> their scores, one after another. */
  predict(input) {
    const { shape, batch, output } = this.contract;
    const size = product(shape);
    if (!(input instanceof Float32Array)) {
      throw new InputError(`the input is ${describe(input)}; it must be a Float32Array`);
    }
    if (input.length === 0 || input.length % size !== 0) {
      throw new InputError(
        `the input has ${input.length} values; a sample of ${shape.join("×")} has ${size}, and only whole samples run`,
      );
    }
    // a loop: findIndex calls a function per value, which on a small model costs as much as running it
    let bad = 0;
    while (bad < input.length && Number.isFinite(input[bad])) bad += 1;
    if (bad < input.length) throw new InputError(`the input holds ${input[bad]}, first at ${bad}`);

    const count = input.length / size;
    const each = product(output.shape) / batch;
    const scores = new Float32Array(count * each);
    for (let start = 0; start < count; start += batch) {
      const part = input.subarray(start * size, (start + batch) * size);
      // where the last samples are fewer than a batch, those of the run before fill it up, and count for nothing
      this.#view("input", part.length).set(part);
      const status = this.#exports.run();
      if (status !== 0) throw new Error(`the module's run() gives ${status}`);
      const held = Math.min(batch, count - start) * each;
      scores.set(this.#view("output", batch * each).subarray(0, held), start * each);
    }
    return scores;
  }

  /** The input as a base64 ONNX TensorProto, float32 (N, ...shape) -> scores. */
  predictTensorProto(base64) {
    const { dims, values } = readTensorProto(base64);
    const { shape } = this.contract;
    if (dims.length !== shape.length + 1 || dims[0] < 1 || shape.some((length, axis) => dims[axis + 1] !== length)) {
      throw new InputError(`the tensor has shape (${dims.join(", ")}); the model takes (N, ${shape.join(", ")})`);
    }
    return this.predict(values);
  }

  #view(port, length) {
    // the pointer is asked for each time: memory that has grown has a new buffer
    return new Float32Array(this.#exports.memory.buffer, this.#exports[port](0), length);
  }
}

/** A base64 ONNX TensorProto of float32 -> its axes and its values. Fields are those of onnx.proto. */
export function readTensorProto(base64) {
  if (typeof base64 !== "string") throw new InputError(`the tensor is ${describe(base64)}; it must be base64 text`);
  let bytes;
  try {
    bytes = Uint8Array.from(atob(base64.trim()), (character) => character.charCodeAt(0));
  } catch {
    throw new InputError("the tensor is not base64");
  }
  const reader = new Reader(bytes);
  const dims = [];
  const floats = [];
  let type = 0;
  let raw = null;
  while (!reader.done) {
    const { field, wire, value } = reader.field();
    if ((field === 4 || field === 9) && typeof value === "number") {
      throw new InputError("the tensor is no TensorProto: its data is a number");
    }
    if (field === 1) dims.push(...(wire === 2 ? new Reader(value).varints() : [value]));
    else if (field === 2) type = value;
    else if (field === 4) floats.push(...toFloats(value));
    else if (field === 9) raw = value;
    else if (field === 14 && value !== 0) throw new InputError("the tensor's data lies in another file");
  }
  if (type !== 1) throw new InputError(`the tensor has data_type ${type}; it must be 1, float32`);
  const values = raw ? toFloats(raw) : Float32Array.from(floats);
  if (values.length !== product(dims)) {
    throw new InputError(`the tensor has shape (${dims.join(", ")}), but ${values.length} values`);
  }
  return { dims, values };
}

/** Reads protobuf's wire format. */
class Reader {
  #at = 0;
  #bytes;

  constructor(bytes) {
    this.#bytes = bytes;
  }

  get done() {
    return this.#at >= this.#bytes.length;
  }

  field() {
    const key = this.varint();
    const wire = key % 8;
    const field = Math.floor(key / 8);
    if (wire === 0) return { field, wire, value: this.varint() };
    if (wire === 1) return { field, wire, value: this.#take(8) };
    if (wire === 2) return { field, wire, value: this.#take(this.varint()) };
    if (wire === 5) return { field, wire, value: this.#take(4) };
    throw new InputError("the tensor is no TensorProto: an unknown wire type");
  }

  varint() {
    let value = 0;
    for (let shift = 0; shift < 10; shift += 1) {
      const byte = this.#take(1)[0];
      value += (byte & 127) * 2 ** (7 * shift);
      if (byte < 128) return value;
    }
    throw new InputError("the tensor is no TensorProto: a number is too long");
  }

  varints() {
    const values = [];
    while (!this.done) values.push(this.varint());
    return values;
  }

  #take(count) {
    if (this.#at + count > this.#bytes.length) throw new InputError("the tensor is no TensorProto, or it is cut short");
    this.#at += count;
    return this.#bytes.subarray(this.#at - count, this.#at);
  }
}

function toFloats(bytes) {
  if (bytes.length % 4) throw new InputError("the tensor's data is no whole number of float32 values");
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  return Float32Array.from({ length: bytes.length / 4 }, (_, index) => view.getFloat32(4 * index, true));
}

async function read(url) {
  if (url.protocol === "file:" && typeof process !== "undefined") {
    const { readFile } = await import("node:fs/promises");
    return readFile(url);
  }
  const response = await fetch(url);
  if (!response.ok) throw new Error(`${url}: ${response.status} ${response.statusText}`);
  return new Uint8Array(await response.arrayBuffer());
}

const product = (lengths) => lengths.reduce((total, length) => total * length, 1);
const at = (values, channel) => values[values.length === 1 ? 0 : channel];
const describe = (value) => (value === null ? "null" : (value?.constructor?.name ?? typeof value));
