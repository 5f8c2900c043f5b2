// GFLOP/s of peak.c: `node peak.mjs peak.wasm`.
import fs from 'node:fs';

const { instance } = await WebAssembly.instantiate(fs.readFileSync(process.argv[2]), {});
const count = 100000;
let best = Infinity;
for (let i = 0; i < 300; ++i) {
  const started = performance.now();
  instance.exports.run(count, 0.999, 0.001);
  best = Math.min(best, performance.now() - started);
}
console.log((12 * 4 * 2 * count) / best / 1e6);
