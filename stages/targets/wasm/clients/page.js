// The page's own part; model.js, answers.js and pictures.js stand before it in index.html.

const byId = (id) => document.getElementById(id);
const embedded = JSON.parse(byId("embedded").textContent);
const fromBase64 = (text) => Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
const { contract, samples } = embedded;
const isPicture = ({ shape }) => shape.length === 3 && [1, 3].includes(shape[0]);
// of several inputs the one that is shown: a picture, where one is
const shownInput = Math.max(0, contract.inputs.findIndex(isPicture));
const taken = contract.inputs[shownInput];
const isAlone = contract.inputs.length === 1;
const isImage = isPicture(taken);
const takesFiles = isAlone && isImage && taken.stored_dtype === "uint8";
const MEASUREMENTS = 21;
const LEAST_MS = 10;
const MOST_EDITED = 4096;
const sampleSize = product(taken.shape);
const isEdited = isAlone && !isImage && sampleSize <= MOST_EDITED;

let model;
let shown; // the normalised sample on show, as the model takes it

/** An array for each input -> what the model takes of them. */
function byName(arrays) {
  return isAlone ? arrays[0] : Object.fromEntries(contract.inputs.map(({ name }, index) => [name, arrays[index]]));
}

/** What goes by the names of these inputs or outputs -> an array for each. */
const each = (ports, made) => (ports.length === 1 ? [made] : ports.map(({ name }) => made[name]));

/** Run the model on a sample, an array as it is stored for each input. */
function run(sample, name) {
  byId("error").hidden = true;
  const stored = sample[shownInput];
  shown = model.normalise(byName(sample));
  const started = performance.now();
  const outputs = model.predict(shown);
  const took = performance.now() - started;
  const answer = answerOf(contract, outputs, each(contract.inputs, shown)[shownInput]);
  if (isImage && answer.again) answer.rows = []; // the picture shows them
  const hasBars = answer.rows.some((row) => row.share !== null);
  ["first", "share", "last"].forEach((column, index) => (byId(`${column}-title`).textContent = answer.columns[index]));
  byId("share-title").hidden = !hasBars;
  byId("caption").textContent = answer.columns.filter(Boolean).join(", ");
  byId("of").textContent = name;
  byId("class").textContent = answer.text;
  byId("note").textContent = answer.note;
  byId("rows").replaceChildren(...answer.rows.map((one) => row(one, hasBars)));
  byId("table").hidden = answer.rows.length === 0;
  byId("time").textContent = took < 0.1 ? "This run took less than 0.1 ms" : `This run took ${took.toFixed(1)} ms`;
  byId("measure").disabled = false;
  byId("values").value = isImage ? "" : Array.from(stored, (value) => written(value)).join(" ");
  if (isImage) picture(stored, answer);
}

/** A stored value as it is written for people; it reads back as itself. */
function written(value) {
  if (taken.stored_dtype !== "float32") return String(value);
  for (let digits = 6; digits <= 9; digits += 1) {
    const text = Number(value.toPrecision(digits));
    if (Math.fround(text) === value) return String(text);
  }
  return String(value);
}

/** What the model sees and, where its answer is a picture, that beside it. */
function picture(stored, { classes, again }) {
  byId("pictures").hidden = false;
  byId("seen-label").hidden = byId("made-figure").hidden = !classes && !again;
  byId("answer").classList.toggle("large", Boolean(classes || again));
  const limits = span(stored, taken.stored_dtype);
  draw(byId("seen"), taken.shape, stored, limits);
  const made = byId("made");
  if (again) {
    const { mean, std, divisor } = taken;
    const plane = taken.shape[1] * taken.shape[2];
    const value = (index, channel) => (again[index] * at(std, channel) + at(mean, channel)) * divisor;
    draw(made, taken.shape, Float32Array.from(again, (_, index) => value(index, Math.floor(index / plane))), limits);
    byId("made-label").textContent = "Made again";
    made.setAttribute("aria-label", "The input as the model makes it again");
  } else if (classes) {
    const [, height, width] = contract.outputs[judged(contract)].shape;
    draw(made, taken.shape, stored, limits, height, width);
    const context = made.getContext("2d");
    const image = context.getImageData(0, 0, width, height);
    for (let pixel = 0; pixel < height * width; pixel += 1) {
      colour(classes[pixel]).forEach((value, channel) => {
        image.data[4 * pixel + channel] = 0.45 * image.data[4 * pixel + channel] + 0.55 * value;
      });
    }
    context.putImageData(image, 0, 0);
    byId("made-label").textContent = "Class of each pixel";
    made.setAttribute("aria-label", "The input in the colours of the classes");
  }
}

function row({ index, name, share, value, best, colour: tint }, hasBars) {
  const line = document.createElement("tr");
  if (best) line.className = "best";
  line.dataset.class = index;
  line.dataset.value = value;
  const head = document.createElement("th");
  head.scope = "row";
  if (tint) {
    const swatch = document.createElement("span");
    swatch.className = "swatch";
    swatch.style.background = `rgb(${tint.join(" ")})`;
    head.append(swatch);
  }
  head.append(name);
  line.append(head);
  if (hasBars) {
    const bar = document.createElement("td");
    const track = document.createElement("span");
    track.className = "track";
    track.title = `${(100 * share).toFixed(2)} %`;
    track.setAttribute("role", "img");
    track.setAttribute("aria-label", track.title);
    const fill = document.createElement("i");
    fill.style.width = `${100 * share}%`;
    track.append(fill);
    bar.append(track);
    line.append(bar);
  }
  const last = document.createElement("td");
  last.textContent = value;
  line.append(last);
  return line;
}

function complain(text) {
  byId("error").textContent = text;
  byId("error").hidden = false;
}

async function take(file) {
  if (!file) return;
  try {
    const stored = await pixelsOf(file, taken.shape);
    press(null);
    run([stored], file.name || "Pasted image");
  } catch (error) {
    complain(`${file.name || "This"} cannot be read as an image: ${error.message}`);
  }
}

function press(chosen) {
  for (const button of byId("samples").querySelectorAll("button")) {
    button.setAttribute("aria-pressed", String(button === chosen));
  }
}

function addSample({ label, data }, number) {
  const parts = [data].flat();
  const sample = contract.inputs.map(({ stored_dtype }, index) => {
    return new TYPES[stored_dtype].array(fromBase64(parts[index]).buffer);
  });
  const stored = sample[shownInput];
  const button = document.createElement("button");
  button.type = "button";
  button.setAttribute("aria-pressed", "false");
  const name = `Sample ${number + 1}${label && `: ${label}`}`;
  button.title = label || name;
  button.setAttribute("aria-label", name);
  if (isImage) {
    const canvas = document.createElement("canvas");
    draw(canvas, taken.shape, stored, span(stored, taken.stored_dtype));
    button.append(canvas);
  } else {
    const text = document.createElement("span");
    text.textContent = label || name;
    button.append(text);
  }
  button.addEventListener("click", () => {
    press(button);
    run(sample, name);
  });
  byId("samples").append(button);
}

/** What is written in the editor -> a stored sample. Throws InputError. */
function edited() {
  const words = byId("values").value.split(/[\s,;]+/).filter(Boolean);
  if (words.length !== sampleSize) throw new InputError(`${words.length} values are written, and the model takes ${sampleSize}`);
  const { limits } = TYPES[taken.stored_dtype];
  return words.map((word) => {
    const isWhole = /^[+-]?\d+$/.test(word);
    const value = isWhole && typeof limits?.[0] === "bigint" ? BigInt(word) : Number(word);
    if (limits ? !isWhole || value < limits[0] || value > limits[1] : !Number.isFinite(value)) {
      throw new InputError(`'${word}' is no ${limits ? `whole number from ${limits[0]} to ${limits[1]}` : "number"}`);
    }
    return value;
  });
}

function edit(event) {
  event.preventDefault(); // or the browser would send the form
  try {
    run([edited()], "Your values");
    press(null);
  } catch (error) {
    complain(error.message);
  }
}

/** Milliseconds that `runs` predictions of the sample on show take. */
function timed(runs) {
  const started = performance.now();
  for (let run = 0; run < runs; run += 1) model.predict(shown);
  return performance.now() - started;
}

function measure() {
  // a browser's clock is coarse: as many runs at a time as it can tell apart, and not for one slow moment
  let runs = 1;
  while (Math.min(timed(runs), timed(runs), timed(runs)) < LEAST_MS) runs *= 2;
  const times = Array.from({ length: MEASUREMENTS }, () => timed(runs) / runs).sort((a, b) => a - b);
  const [median, fastest] = [times[(MEASUREMENTS - 1) / 2], times[0]].map((time) => Number(time.toPrecision(3)));
  byId("time").textContent = `Median of ${runs * MEASUREMENTS} runs: ${median} ms, fastest ${fastest} ms`;
}

async function start() {
  if (!hasSimd()) throw new Error("this browser has no WebAssembly SIMD; model.js also runs without");
  const began = performance.now();
  model = await Model.create(contract, fromBase64(embedded.module));
  const took = performance.now() - began;
  const size = `${(embedded.size / 1000).toFixed(0)} kB`;
  byId("about").textContent = `One WebAssembly module of ${size}, ready after ${took.toFixed(0)} ms. ${embedded.about}`;
  samples.forEach(addSample);
  byId("samples").classList.toggle("named", !isImage);
  if (takesFiles) {
    const [, height, width] = taken.shape;
    byId("fit").textContent = `It is resized to ${width} × ${height} pixels${taken.shape[0] === 1 ? ", in grey" : ""}.`;
    byId("drop").hidden = false;
    byId("file").addEventListener("change", (event) => take(event.target.files[0]));
    document.addEventListener("paste", (event) => take(event.clipboardData.files[0]));
    for (const kind of ["dragenter", "dragover", "dragleave", "drop"]) {
      document.addEventListener(kind, (event) => {
        event.preventDefault(); // or the browser would open the file
        byId("drop").classList.toggle("over", kind === "dragenter" || kind === "dragover");
        if (kind === "drop") take(event.dataTransfer.files[0]);
      });
    }
  }
  if (isEdited) {
    byId("editor").hidden = false;
    const [low, high] = taken.bounds ?? [];
    const range = taken.bounds ? `, from ${Math.max(low, 0)} to ${high}` : "";
    byId("values-label").textContent = `${sampleSize} ${sampleSize === 1 ? "value" : "values"} as ${taken.stored_dtype}${range}`;
    byId("editor").addEventListener("submit", edit);
  }
  byId("measure").addEventListener("click", measure);
  byId("class").textContent = "Choose an input";
  byId("samples").querySelector("button")?.click();
}

start().catch((error) => {
  byId("class").textContent = "–";
  complain(`The model cannot be started: ${error.message}`);
});
