// Runs the emitted models in the page: all of them on one input, beside what the other targets answered to a sample.

const { models, playgrounds } = JSON.parse(document.getElementById("embedded").textContent);
const clients = globalThis.recastClients;
const SHOWN_ROWS = 5;

const bytes = (base64) => Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
const element = (name, text, className) => {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  if (className) made.className = className;
  return made;
};

for (const place of document.querySelectorAll("[data-playground]")) {
  start(place, playgrounds[Number(place.dataset.playground)]).catch((error) => complain(place, `The models cannot be started: ${error.message}`));
}

async function start(place, given) {
  const running = [];
  const level = place.querySelector("h3") ? "h4" : "h3"; // below the heading there is
  for (const index of given.models) {
    const model = models[index];
    const { Model, hasSimd } = clients[model.client];
    if (!hasSimd()) throw new Error("this browser has no WebAssembly SIMD");
    running.push({ ...model, runs: await Model.create(model.contract, bytes(model.module)) });
  }
  const [taken] = running[0].contract.inputs;
  const isImage = taken.shape.length === 3 && [1, 3].includes(taken.shape[0]);
  const client = clients[running[0].client];
  const { array } = client.TYPES[taken.stored_dtype];
  const buttons = given.samples.map((sample) => {
    const button = element("button");
    button.type = "button";
    button.setAttribute("aria-pressed", "false");
    const name = `Sample ${sample.number}${sample.truth && `, true: ${sample.truth}`}`;
    button.setAttribute("aria-label", name);
    if (sample.image) {
      const image = element("img");
      image.src = sample.image;
      image.alt = "";
      image.width = image.height = 44;
      button.append(image);
    } else {
      button.append(element("span", sample.truth || String(sample.number), "text"));
    }
    button.addEventListener("click", () => {
      press(button);
      answer(new array(bytes(sample.stored).buffer), name, sample);
    });
    return button;
  });
  place.querySelector(".picks").append(...buttons);
  if (buttons.length === 0) place.querySelector(".label").hidden = true;

  const press = (chosen) => buttons.forEach((one) => one.setAttribute("aria-pressed", String(one === chosen)));

  function answer(stored, name, sample) {
    complain(place, "");
    if (isImage) show(place.querySelector(".seen"), taken, stored, name, client);
    const said = running.map((one) => {
      const { answerOf } = clients[one.client];
      const input = one.runs.normalise(stored);
      one.runs.predict(input); // the first run of a sample also warms up
      const began = performance.now();
      const outputs = one.runs.predict(input);
      const took = performance.now() - began;
      return modelAnswer(one, answerOf(one.contract, outputs, input), took, level);
    });
    if (sample) said.push(recorded(sample, running, level));
    place.querySelector(".said").replaceChildren(...said);
  }

  if (isImage && taken.stored_dtype === "uint8") {
    const drop = place.querySelector(".drop");
    const [channels, height, width] = taken.shape;
    drop.hidden = false;
    drop.querySelector(".fit").textContent = `It is resized to ${width} × ${height} pixels${channels === 1 ? ", in grey" : ""}.`;
    const take = async (file) => {
      if (!file) return;
      try {
        const stored = await client.pixelsOf(file, taken.shape);
        press(null);
        answer(stored, file.name || "Your image", null);
      } catch (error) {
        complain(place, `${file.name || "This"} cannot be read as an image: ${error.message}`);
      }
    };
    drop.querySelector("input").addEventListener("change", (event) => take(event.target.files[0]));
    for (const kind of ["dragenter", "dragover", "dragleave", "drop"]) {
      place.addEventListener(kind, (event) => {
        event.preventDefault(); // or the browser would open the file
        drop.classList.toggle("over", kind === "dragenter" || kind === "dragover");
        if (kind === "drop") take(event.dataTransfer.files[0]);
      });
    }
  }
  if (buttons.length > 0) buttons[0].click();
}

/** What a model says now, in this page. */
function modelAnswer(model, answer, took, level) {
  const card = element("div", undefined, "model");
  card.dataset.model = model.title;
  card.append(element(level, [model.title, model.scheme].filter(Boolean).join(", ")));
  card.append(element("p", answer.text, "answer"));
  if (answer.note) card.append(element("p", answer.note, "how"));
  if (answer.rows.length > 0) {
    const table = element("table", undefined, "bars");
    const caption = element("caption", `${answer.columns.filter(Boolean).join(", ")}`, "how");
    const body = element("tbody");
    for (const row of answer.rows.slice(0, SHOWN_ROWS)) {
      const line = element("tr");
      const head = element("th", row.name);
      head.scope = "row";
      line.append(head);
      if (row.share !== null) {
        const cell = element("td");
        const meter = element("meter");
        meter.value = row.share;
        meter.setAttribute("aria-label", `${row.name}: ${(100 * row.share).toFixed(1)} %`);
        cell.append(meter);
        line.append(cell);
      }
      line.append(element("td", row.value, "number"));
      body.append(line);
    }
    table.append(caption, body);
    card.append(table);
  }
  const time = took < 0.1 ? "less than 0.1 ms" : `${took.toFixed(1)} ms`;
  const standing = model.verified ? "" : ` The model is not verified: ${model.state}.`;
  card.append(element("p", `Run here, just now, in ${time}.${standing}`, "how"));
  return card;
}

/** What the targets that do not run in a browser said of the sample when they were verified. */
function recorded(sample, running, level) {
  const card = element("div", undefined, "recorded");
  card.append(element(level, "As verification recorded it"));
  const list = element("dl");
  if (sample.truth) list.append(pair("true", sample.truth));
  for (const { model, text } of sample.answers) {
    const runsHere = running.some((one) => one.target === model);
    list.append(pair(runsHere ? `${model}, under its own runtime` : model, text));
  }
  card.append(list);
  return card;
}

function pair(name, value) {
  const line = element("div");
  line.append(element("dt", name), element("dd", value));
  return line;
}

/** The sample on the canvas, as it is stored. */
function show(figure, { shape, stored_dtype }, stored, name, { draw, span }) {
  figure.hidden = false;
  figure.querySelector("figcaption").textContent = name;
  draw(figure.querySelector("canvas"), shape, stored, span(stored, stored_dtype));
}

function complain(place, text) {
  const trouble = place.querySelector(".trouble");
  trouble.textContent = text;
  trouble.hidden = text === "";
}
