/** What input.json holds. */
export interface Contract {
  version: 2;
  dataset: string;
  /** what the model is for, and the options of that */
  task: { name: string; [option: string]: unknown };
  classes: string[];
  inputs: Input[];
  /** shapes are of one sample */
  outputs: { name: string; shape: number[]; dtype: DType }[];
  /** samples the module computes at once */
  batch: number;
}

export type DType =
  | "float32"
  | "bool"
  | "uint8"
  | "int8"
  | "uint16"
  | "int16"
  | "uint32"
  | "int32"
  | "uint64"
  | "int64";

/** The array that holds values of a type: a Uint8Array for bool, a BigInt64Array for int64. */
export type Values =
  | Float32Array
  | Uint8Array
  | Int8Array
  | Uint16Array
  | Int16Array
  | Uint32Array
  | Int32Array
  | BigUint64Array
  | BigInt64Array;

/** One input: the model takes (stored / divisor - mean) / std, whole numbers as they are stored. */
export interface Input {
  name: string;
  /** of one sample, channels first for images */
  shape: number[];
  layout: "features" | "ncl" | "nchw" | "ncdhw" | "";
  stored_dtype: string;
  dtype: DType;
  divisor: number;
  mean: number[];
  std: number[];
  /** its name in the ONNX model */
  tensor: string;
  /** the least and the greatest value, where the model looks things up by it */
  bounds?: [number, number];
}

/** Wrong input; the message says what was found and what is needed. */
export class InputError extends Error {}

/** One instance of the module. Not for two calls at once: they share its memory. */
export class Model {
  static create(contract: Contract, bytes: BufferSource): Promise<Model>;
  constructor(contract: Contract, instance: WebAssembly.Instance);
  readonly contract: Contract;
  /**
   * Samples as stored, one after another -> the model's input. Throws InputError for what is no whole number.
   * Of several inputs they are arrays by name, and so is what comes of them.
   */
  normalise(stored: ArrayLike<number> | ArrayLike<bigint>): Values;
  normalise(stored: Record<string, ArrayLike<number> | ArrayLike<bigint>>): Record<string, Values>;
  /**
   * One sample or several, as the model takes them, one after another -> their outputs, one after another.
   * Floats are a Float32Array; whole numbers any array of them, bigints or not. Throws InputError.
   * Of several inputs, or outputs, they are arrays by name: `predict<Record<string, Values>>({ image, ids })`.
   */
  predict<Made extends Values | Record<string, Values> = Values>(
    input: Values | readonly number[] | readonly bigint[] | Record<string, Values | readonly number[] | readonly bigint[]>,
  ): Made;
  /** A base64 TensorProto (N, ...shape) of the input's type, or one for each of several -> outputs. Throws InputError. */
  predictTensorProto<Made extends Values | Record<string, Values> = Values>(base64: string | Record<string, string>): Made;
}

/** The model beside this file, or in the folder at `base`. */
export function load(base?: URL): Promise<Model>;

/** Whether this machine runs WebAssembly with SIMD. */
export function hasSimd(): boolean;

/** A base64 ONNX TensorProto of a type -> its axes and its values. Throws InputError. */
export function readTensorProto(base64: string, dtype?: DType): { dims: number[]; values: Values };

/** A type -> its array, its number in onnx.proto and, of whole numbers, the least and the greatest. */
export const TYPES: Record<
  DType,
  { array: new (length: number) => Values; onnx: number; limits?: [number, number] | [bigint, bigint] }
>;
