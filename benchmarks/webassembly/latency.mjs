// Times WebAssembly models in Node, on request: `node latency.mjs VARIANTS.json ORT_WEB_FOLDER`.
//
// VARIANTS.json: [{name, kind: "module" | "onnxruntime-web", path, input, shape}]. Once all are loaded and warm, one line
// {ready, outputs: {name: [...]}}; then for each line `NAME COUNT` read, one line with COUNT times in milliseconds.
import fs from 'node:fs';
import path from 'node:path';
import readline from 'node:readline';

const [variantsFile, ortFolder] = process.argv.slice(2);

function floats(file) {
  const bytes = fs.readFileSync(file);
  return new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength));
}

async function load(variant) {
  const x = floats(variant.input);
  if (variant.kind === 'module') {
    const { instance } = await WebAssembly.instantiate(fs.readFileSync(variant.path), {});
    return predictor(instance.exports, x);
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

// as the emitted client calls it: copy the input in, run, copy the output out
function predictor(exports, x) {
  return () => {
    const output = exports.output_ptr();
    new Float32Array(exports.memory.buffer, exports.input_ptr(), x.length).set(x);
    exports.run();
    return new Float32Array(exports.memory.buffer, output, 10).slice();
  };
}

const runs = new Map();
const outputs = {};
for (const variant of JSON.parse(fs.readFileSync(variantsFile))) {
  const run = await load(variant);
  // V8 compiles hot functions anew in the background
  for (let i = 0; i < 30; ++i) await run();
  runs.set(variant.name, run);
  outputs[variant.name] = Array.from(await run());
}
console.log(JSON.stringify({ ready: true, outputs }));
for await (const line of readline.createInterface({ input: process.stdin })) {
  const [name, count] = line.split(' ');
  const run = runs.get(name);
  const times = [];
  for (let i = 0; i < Number(count); ++i) {
    const started = performance.now();
    await run();
    times.push(performance.now() - started);
  }
  console.log(JSON.stringify(times));
}
