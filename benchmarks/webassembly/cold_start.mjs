// One cold start in a fresh Node process: `node cold_start.mjs VARIANT.json ORT_WEB_FOLDER` prints the milliseconds from
// the first line of this script to the first output: reading the files, loading the runtime, instantiating, inferring.
const started = performance.now();
const fs = await import('node:fs');
const { load } = await import('./models.mjs');
const run = await load(JSON.parse(fs.readFileSync(process.argv[2])), process.argv[3]);
await run();
console.log(performance.now() - started);
process.exit(0);
