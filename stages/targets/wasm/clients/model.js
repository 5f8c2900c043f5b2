// Runs model.wasm in browsers and in Node: an ES module without dependencies.
//
//   import { load } from "./model.js";
//   const model = await load();
//   const outputs = model.predict(model.normalise(stored));
//
// Of several inputs and outputs, arrays go by name: model.predict({ image, ids }) gives { scores, boxes }.

/** Wrong input; the message says what was found and what is needed. */
export class InputError extends Error {
  name = "InputError";
}

/** NumPy's name of a type -> its array, its number in onnx.proto and, of whole numbers, the least and the greatest. */
export const TYPES = {
  float32: { array: Float32Array, onnx: 1 },
  uint8: { array: Uint8Array, onnx: 2, limits: [0, 255] },
  int8: { array: Int8Array, onnx: 3, limits: [-128, 127] },
  uint16: { array: Uint16Array, onnx: 4, limits: [0, 65535] },
  int16: { array: Int16Array, onnx: 5, limits: [-32768, 32767] },
  int32: { array: Int32Array, onnx: 6, limits: [-(2 ** 31), 2 ** 31 - 1] },
  int64: { array: BigInt64Array, onnx: 7, limits: [-(2n ** 63n), 2n ** 63n - 1n] },
  bool: { array: Uint8Array, onnx: 9, limits: [0, 1] },
  uint32: { array: Uint32Array, onnx: 12, limits: [0, 2 ** 32 - 1] },
  uint64: { array: BigUint64Array, onnx: 13, limits: [0n, 2n ** 64n - 1n] },
};

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

  /**
   * Samples as stored (one after another, each of the input's `shape`) -> the model's input.
   * Of several inputs they are arrays by name, and so is what comes of them.
   */
  normalise(stored) {
    const { inputs } = this.contract;
    const made = this.#each(stored).map((values, index) => normalised(values, inputs[index]));
    return this.#byName(inputs, made);
  }

  /**
   * One sample or several, as the model takes them, one after another -> their outputs, one after another.
   * Of several inputs, or outputs, they are arrays by name.
   * Whole numbers may be any array of them: int64 need not be a BigInt64Array.
   */
  predict(given) {
    const { inputs, batch, outputs } = this.contract;
    const taken = this.#each(given).map((values, index) => fitting(values, inputs[index], nameOfInput(inputs, index)));
    const sizes = inputs.map(({ shape }) => product(shape));
    const count = taken[0].length / sizes[0];
    for (let index = 1; index < inputs.length; index += 1) {
      const held = taken[index].length / sizes[index];
      if (held !== count) {
        const said = `${count} of ${inputs[0].name}, ${held} of ${inputs[index].name}`;
        throw new InputError(`the inputs hold ${said}; the model takes as many samples of each`);
      }
    }
    const each = outputs.map(({ shape }) => product(shape));
    const found = outputs.map(({ dtype }, index) => new TYPES[dtype].array(count * each[index]));
    for (let start = 0; start < count; start += batch) {
      for (let index = 0; index < inputs.length; index += 1) {
        const part = taken[index].subarray(start * sizes[index], (start + batch) * sizes[index]);
        // where the last samples are fewer than a batch, those of the run before fill it up, and count for nothing
        this.#view("input", index, inputs[index].dtype, part.length).set(part);
      }
      const status = this.#exports.run();
      if (status !== 0) throw new Error(`the module's run() gives ${status}`);
      const held = Math.min(batch, count - start);
      for (let index = 0; index < outputs.length; index += 1) {
        const made = this.#view("output", index, outputs[index].dtype, batch * each[index]);
        found[index].set(made.subarray(0, held * each[index]), start * each[index]);
      }
    }
    return this.#byName(outputs, found);
  }

  /** The input as a base64 ONNX TensorProto (N, ...shape) of its type -> outputs; of several inputs, texts by name. */
  predictTensorProto(base64) {
    const { inputs } = this.contract;
    const read = this.#each(base64).map((text, index) => {
      const { shape, dtype } = inputs[index];
      const { dims, values } = readTensorProto(text, dtype);
      if (dims.length !== shape.length + 1 || dims[0] < 1 || shape.some((length, axis) => dims[axis + 1] !== length)) {
        throw new InputError(`the tensor has shape (${dims.join(", ")}); the model takes (N, ${shape.join(", ")})`);
      }
      return values;
    });
    return this.predict(this.#byName(inputs, read));
  }

  /** What is given for each input, in the module's order. */
  #each(given) {
    const { inputs } = this.contract;
    if (inputs.length === 1) return [given];
    const names = inputs.map(({ name }) => name);
    if (given === null || typeof given !== "object" || ArrayBuffer.isView(given) || Array.isArray(given)) {
      throw new InputError(`the model takes ${names.length} inputs by name: ${names.join(", ")}`);
    }
    return names.map((name) => {
      if (!Object.hasOwn(given, name)) throw new InputError(`the input ${name} is missing; the model takes ${names.join(", ")}`);
      return given[name];
    });
  }

  /** The only array, or all of them by the ports' names. */
  #byName(ports, arrays) {
    return ports.length === 1 ? arrays[0] : Object.fromEntries(ports.map(({ name }, index) => [name, arrays[index]]));
  }

  #view(port, index, dtype, length) {
    // the pointer is asked for each time: memory that has grown has a new buffer
    return new TYPES[dtype].array(this.#exports.memory.buffer, this.#exports[port](index), length);
  }
}

const nameOfInput = (inputs, index) => (inputs.length === 1 ? "the input" : `the input ${inputs[index].name}`);

/** Stored values of one input -> what the model takes. */
function normalised(stored, taken) {
  const { shape, divisor, mean, std } = taken;
  if (taken.dtype !== "float32") return wholeNumbers(stored, taken);
  const size = product(shape);
  const plane = size / (shape[0] ?? 1);
  const { fround } = Math; // as float32, step by step, so that every client computes the same input
  return Float32Array.from(stored, (value, index) => {
    const channel = Math.floor((index % size) / plane);
    const scaled = fround(fround(value) / fround(divisor));
    return fround(fround(scaled - fround(at(mean, channel))) / fround(at(std, channel)));
  });
}

/** Values as the model takes them -> the typed array of that input. Throws InputError. */
function fitting(given, taken, what) {
  const { shape, dtype } = taken;
  const size = product(shape);
  if (dtype === "float32" && !(given instanceof Float32Array)) {
    throw new InputError(`${what} is ${describe(given)}; it must be a Float32Array`);
  }
  const input = dtype === "float32" ? given : wholeNumbers(given, taken, what);
  if (input.length === 0 || input.length % size !== 0) {
    throw new InputError(
      `${what} has ${input.length} values; a sample of ${shape.join("×")} has ${size}, and only whole samples run`,
    );
  }
  if (dtype === "float32") {
    // a loop: findIndex calls a function per value, which on a small model costs as much as running it
    let bad = 0;
    while (bad < input.length && Number.isFinite(input[bad])) bad += 1;
    if (bad < input.length) throw new InputError(`${what} holds ${input[bad]}, first at ${bad}`);
  }
  return input;
}

/** An array of whole numbers, bigints or not -> the typed array of an input. */
function wholeNumbers(given, { dtype, bounds }, what = "the input") {
  const { array, limits } = TYPES[dtype];
  if (!Array.isArray(given) && !ArrayBuffer.isView(given)) {
    throw new InputError(`${what} is ${describe(given)}; it must be an array of whole numbers`);
  }
  const [low, high] = bounds ?? limits;
  for (let at = 0; at < given.length; at += 1) {
    const value = given[at];
    const isWhole = typeof value === "bigint" || typeof value === "boolean" || Number.isInteger(value);
    // bigints and numbers compare by value
    if (!isWhole || value < low || value > high) {
      throw new InputError(`${what} holds ${value}, first at ${at}; the model takes whole numbers from ${low} to ${high}`);
    }
  }
  if (given instanceof array) return given;
  const convert = typeof limits[0] === "bigint" ? BigInt : Number;
  return array.from(given, (value) => convert(value));
}

/** A base64 ONNX TensorProto of this type -> its axes and its values. Fields are those of onnx.proto. */
export function readTensorProto(base64, dtype = "float32") {
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
  const numbers = [];
  let type = 0;
  let raw = null;
  while (!reader.done) {
    const { field, wire, value } = reader.field();
    if ((field === 4 || field === 9) && typeof value === "number") {
      throw new InputError("the tensor is no TensorProto: its data is a number");
    }
    if (field === 1) dims.push(...(wire === 2 ? new Reader(value).varints() : [value]));
    else if (field === 2) type = value;
    else if (field === 4) for (const one of fromBytes(value, "float32")) floats.push(one);
    else if (field === 5 || field === 7 || field === 11) for (const one of reader.wholes(wire, value)) numbers.push(one);
    else if (field === 9) raw = value;
    else if (field === 14 && value !== 0) throw new InputError("the tensor's data lies in another file");
  }
  const { array, onnx, limits } = TYPES[dtype];
  if (type !== onnx) throw new InputError(`the tensor has data_type ${type}; it must be ${onnx}, ${dtype}`);
  const isBig = typeof limits?.[0] === "bigint";
  const held = limits ? numbers.map((value) => (isBig ? value : Number(BigInt.asIntN(64, value)))) : floats;
  const values = raw ? fromBytes(raw, dtype) : array.from(held);
  if (values.length !== product(dims)) {
    throw new InputError(`the tensor has shape (${dims.join(", ")}), but ${values.length} values`);
  }
  return { dims, values };
}

/** Reads protobuf's wire format. */
class Reader {
  #at = 0;
  #bytes;
  #last = 0n; // the varint read last, in all its bits

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
    this.#last = 0n;
    for (let shift = 0; shift < 10; shift += 1) {
      const byte = this.#take(1)[0];
      value += (byte & 127) * 2 ** (7 * shift);
      this.#last |= BigInt(byte & 127) << BigInt(7 * shift);
      if (byte < 128) return value;
    }
    throw new InputError("the tensor is no TensorProto: a number is too long");
  }

  varints() {
    const values = [];
    while (!this.done) values.push(this.varint());
    return values;
  }

  /** The whole numbers of a field as bigints, packed or just one, which has been read. */
  wholes(wire, value) {
    if (wire !== 2) return [this.#last];
    const packed = new Reader(value);
    const found = [];
    while (!packed.done) {
      packed.varint();
      found.push(packed.#last);
    }
    return found;
  }

  #take(count) {
    if (this.#at + count > this.#bytes.length) throw new InputError("the tensor is no TensorProto, or it is cut short");
    this.#at += count;
    return this.#bytes.subarray(this.#at - count, this.#at);
  }
}

/** The values of a type in little-endian bytes; a copy, since they may lie at any place. */
function fromBytes(bytes, dtype) {
  const { array } = TYPES[dtype];
  const size = array.BYTES_PER_ELEMENT;
  if (bytes.length % size) throw new InputError(`the tensor's data is no whole number of ${dtype} values`);
  const copy = bytes.slice();
  if (new Uint8Array(new Uint16Array([1]).buffer)[0] === 0) {
    for (let at = 0; at < copy.length; at += size) copy.subarray(at, at + size).reverse(); // a big-endian machine
  }
  return new array(copy.buffer);
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
