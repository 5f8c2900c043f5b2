// The page's own part; model.js stands before it in index.html.

const byId = (id) => document.getElementById(id);
const embedded = JSON.parse(byId("embedded").textContent);
const fromBase64 = (text) => Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
const { contract, samples } = embedded;
const isImage = contract.shape.length === 3 && [1, 3].includes(contract.shape[0]);
const takesFiles = isImage && contract.stored_dtype === "uint8";
const MEASUREMENTS = 21;
const LEAST_MS = 10;

let model;
let shown; // the normalised sample on show

/** Show in `canvas` what a stored sample (C, H, W) looks like. */
function draw(canvas, stored) {
  const [channels, height, width] = contract.shape;
  canvas.width = width;
  canvas.height = height;
  const image = new ImageData(width, height);
  let [low, high] = [0, 255];
  if (contract.stored_dtype !== "uint8") {
    low = stored.reduce((a, b) => Math.min(a, b), Infinity);
    high = stored.reduce((a, b) => Math.max(a, b), -Infinity);
  }
  for (let pixel = 0; pixel < height * width; pixel += 1) {
    for (let channel = 0; channel < 3; channel += 1) {
      const value = stored[(channels === 1 ? 0 : channel) * height * width + pixel];
      image.data[4 * pixel + channel] = (255 * (value - low)) / (high - low || 1);
    }
    image.data[4 * pixel + 3] = 255;
  }
  canvas.getContext("2d").putImageData(image, 0, 0);
}

/** An image file -> a stored sample (C, H, W), resized, on white where it is transparent. */
async function toStored(file) {
  const [channels, height, width] = contract.shape;
  let bitmap = await createImageBitmap(file);
  // by halves, since browsers sample too few pixels in one large step
  while (bitmap.width >= 2 * width && bitmap.height >= 2 * height) {
    const half = new OffscreenCanvas(Math.ceil(bitmap.width / 2), Math.ceil(bitmap.height / 2));
    half.getContext("2d").drawImage(bitmap, 0, 0, half.width, half.height);
    bitmap = half;
  }
  const context = new OffscreenCanvas(width, height).getContext("2d");
  context.fillStyle = "#fff";
  context.fillRect(0, 0, width, height);
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, 0, 0, width, height);
  const { data } = context.getImageData(0, 0, width, height);
  const plane = height * width;
  return Uint8Array.from({ length: channels * plane }, (_, index) => {
    const at = 4 * (index % plane);
    if (channels === 3) return data[at + Math.floor(index / plane)];
    return Math.round(0.299 * data[at] + 0.587 * data[at + 1] + 0.114 * data[at + 2]); // ITU-R 601 luma
  });
}

/** The scores as shares of one: as they are if they are shares already, else their softmax. */
function shares(scores) {
  const total = scores.reduce((a, b) => a + b, 0);
  if (scores.every((score) => score >= 0) && Math.abs(total - 1) < 1e-3) return { of: scores, title: "Share" };
  const most = scores.reduce((a, b) => Math.max(a, b), -Infinity);
  const powers = Array.from(scores, (score) => Math.exp(score - most));
  const sum = powers.reduce((a, b) => a + b, 0);
  return { of: powers.map((power) => power / sum), title: "Softmax" };
}

function run(stored, name) {
  byId("error").hidden = true;
  shown = model.normalise(stored);
  const started = performance.now();
  const scores = model.predict(shown);
  const took = performance.now() - started;
  const order = Array.from(scores.keys()).sort((a, b) => scores[b] - scores[a]);
  const { of, title } = shares(scores);
  byId("share-title").textContent = title;
  byId("of").textContent = name;
  byId("class").textContent = contract.classes[order[0]];
  byId("rows").replaceChildren(...order.map((index, rank) => row(index, rank, scores[index], of[index])));
  byId("table").hidden = false;
  byId("time").textContent = took < 0.1 ? "This run took less than 0.1 ms" : `This run took ${took.toFixed(1)} ms`;
  byId("measure").disabled = false;
  byId("seen").hidden = !isImage;
  if (isImage) draw(byId("seen"), stored);
}

function row(index, rank, score, share) {
  const line = document.createElement("tr");
  if (rank === 0) line.className = "best";
  line.dataset.class = index;
  line.dataset.score = score;
  const name = document.createElement("th");
  name.scope = "row";
  name.textContent = contract.classes[index];
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
  const value = document.createElement("td");
  value.textContent = score.toFixed(4);
  line.append(name, bar, value);
  return line;
}

function complain(text) {
  byId("error").textContent = text;
  byId("error").hidden = false;
}

async function take(file) {
  if (!file) return;
  try {
    const stored = await toStored(file);
    press(null);
    run(stored, file.name || "Pasted image");
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
  const bytes = fromBase64(data);
  const stored = contract.stored_dtype === "uint8" ? bytes : new Float32Array(bytes.buffer);
  const button = document.createElement("button");
  button.type = "button";
  button.setAttribute("aria-pressed", "false");
  const name = `Sample ${number + 1}: ${label}`;
  button.title = label;
  button.setAttribute("aria-label", name);
  if (isImage) {
    const canvas = document.createElement("canvas");
    draw(canvas, stored);
    button.append(canvas);
  } else {
    const text = document.createElement("span");
    text.textContent = label;
    button.append(text);
  }
  button.addEventListener("click", () => {
    press(button);
    run(stored, name);
  });
  byId("samples").append(button);
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
  if (takesFiles) {
    const [, height, width] = contract.shape;
    byId("fit").textContent = `It is resized to ${width} × ${height} pixels${contract.shape[0] === 1 ? ", in grey" : ""}.`;
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
  byId("measure").addEventListener("click", measure);
  byId("class").textContent = "Choose an input";
  byId("samples").querySelector("button")?.click();
}

start().catch((error) => {
  byId("class").textContent = "–";
  complain(`The model cannot be started: ${error.message}`);
});
