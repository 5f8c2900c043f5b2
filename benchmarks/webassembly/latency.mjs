// Times models in Node, on request: `node latency.mjs VARIANTS.json ORT_WEB_FOLDER`.
//
// VARIANTS.json: [{name, kind, path, input, shape}], see models.mjs. Once all are loaded and warm, one line
// {ready, outputs: {name: [...]}}; then for each line `NAME COUNT` read, one line with COUNT times in milliseconds.
import fs from 'node:fs';
import readline from 'node:readline';
import { load } from './models.mjs';

const [variants, ortFolder] = process.argv.slice(2);
const runs = new Map();
const outputs = {};
for (const variant of JSON.parse(fs.readFileSync(variants))) {
  const run = await load(variant, ortFolder);
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
