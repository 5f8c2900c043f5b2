/** What input.json holds. */
export interface Contract {
  dataset: string;
  /** of one sample, channels first for images */
  shape: number[];
  stored_dtype: string;
  divisor: number;
  mean: number[];
  std: number[];
  classes: string[];
  layout: "nchw" | "features";
  /** samples the module computes at once */
  batch: number;
  input: { name: string; shape: number[]; dtype: "float32" };
  output: { name: string; shape: number[]; dtype: "float32" };
}

/** Wrong input; the message says what was found and what is needed. */
export class InputError extends Error {}

/** One instance of the module. Not for two calls at once: they share its memory. */
export class Model {
  static create(contract: Contract, bytes: BufferSource): Promise<Model>;
  constructor(contract: Contract, instance: WebAssembly.Instance);
  readonly contract: Contract;
  /** Samples as stored, one after another -> the model's input: (stored / divisor - mean) / std. */
  normalise(stored: ArrayLike<number>): Float32Array;
  /** One sample or several, normalised, one after another -> their scores, one after another. Throws InputError. */
  predict(input: Float32Array): Float32Array;
  /** A base64 ONNX TensorProto, float32 (N, ...shape) -> scores. Throws InputError. */
  predictTensorProto(base64: string): Float32Array;
}

/** The model beside this file, or in the folder at `base`. */
export function load(base?: URL): Promise<Model>;

/** Whether this machine runs WebAssembly with SIMD. */
export function hasSimd(): boolean;

/** A base64 ONNX TensorProto of float32 -> its axes and its values. Throws InputError. */
export function readTensorProto(base64: string): { dims: number[]; values: Float32Array };
