// Loads a model for latency.mjs and cold_start.mjs.
import fs from 'node:fs';
import path from 'node:path';

function floats(file) {
  const bytes = fs.readFileSync(file);
  return new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength));
}

// {kind: "module" | "onnxruntime-web", path, input, shape, contract} -> a function that runs it once and gives its output
export async function load(variant, ortFolder) {
  const x = floats(variant.input);
  if (variant.kind === 'module') {
    const { Model } = await import(new URL('../../stages/targets/wasm/clients/model.js', import.meta.url));
    const model = await Model.create(JSON.parse(fs.readFileSync(variant.contract)), fs.readFileSync(variant.path));
    return () => model.predict(x);
  }
  const ort = (await import(path.resolve(ortFolder, 'ort.wasm.min.mjs'))).default;
  ort.env.wasm.numThreads = 1;
  ort.env.wasm.wasmPaths = `${path.resolve(ortFolder)}/`;
  const session = await ort.InferenceSession.create(fs.readFileSync(variant.path), {
    executionProviders: ['wasm'],
    graphOptimizationLevel: 'all',
  });
  const [input] = session.inputNames;
  const [output] = session.outputNames;
  return async () => (await session.run({ [input]: new ort.Tensor('float32', x, variant.shape) }))[output].data;
}
