"use strict";

// What a service answers is put into the page as text, never as markup.

const place = (id) => document.getElementById(id);

function element(name, text) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  return made;
}

function fault(text) {
  place("fault").textContent = text;
  place("fault").hidden = !text;
  if (text) place("answers").replaceChildren();
}

function shown(target, answer) {
  const made = element("article");
  made.append(element("h2", target));
  if (answer.error) {
    made.append(element("p", `${answer.error}; ${answer.remedy}`));
    return made;
  }
  if (!answer.classes) {
    made.append(element("pre", JSON.stringify(answer.output)));
    return made;
  }
  const one = Array.isArray(answer.classes[0]) ? answer.classes[0] : answer.classes;
  const table = element("table");
  for (const { class: name, probability } of one) {
    const row = element("tr");
    const head = element("th", name);
    head.scope = "row";
    const bar = element("progress");
    bar.value = probability;
    bar.setAttribute("aria-label", `probability of ${name}`);
    const middle = element("td");
    middle.append(bar);
    row.append(head, middle, element("td", `${(100 * probability).toFixed(1)} %`));
    table.append(row);
  }
  made.append(table);
  return made;
}

async function ask(body, type) {
  fault("");
  place("send").disabled = true;
  try {
    const answer = await fetch("compare", { method: "POST", headers: { "Content-Type": type }, body });
    const said = await answer.json();
    if (!said.targets) {
      fault(`${said.error}; ${said.remedy}`);
      return;
    }
    place("answers").replaceChildren(...Object.entries(said.targets).map(([target, one]) => shown(target, one)));
  } catch (error) {
    fault(`no answer: ${error.message}`);
  } finally {
    place("send").disabled = false;
  }
}

function take(file) {
  if (!file) return;
  const image = place("shown");
  URL.revokeObjectURL(image.src);
  image.src = URL.createObjectURL(file);
  image.hidden = false;
  ask(file, file.type);
}

async function start() {
  const model = await (await fetch("model")).json();
  place("name").textContent = model.name;
  document.title = `Try ${model.name}`;
  const inputs = model.shape ? [model] : model.inputs;
  const said = inputs.map((one) => `${model.shape ? "" : `${one.name}: `}${one.dtype} of shape ${JSON.stringify(one.shape)}`);
  place("takes").textContent = `It takes ${said.join(", ")}, from ${model.dataset}.`;
  place("image").hidden = !model.images;
  place("file").addEventListener("change", (event) => take(event.target.files[0]));
  place("send").addEventListener("click", () =>
    ask(`{"input": ${place("text").value || "null"}, "values": "stored"}`, "application/json"));
  const zone = place("image");
  for (const name of ["dragover", "dragleave", "drop"]) {
    zone.addEventListener(name, (event) => {
      event.preventDefault();
      zone.classList.toggle("over", name === "dragover");
      if (name === "drop") take(event.dataTransfer.files[0]);
    });
  }
}

start().catch((error) => fault(`the service does not say what its model takes: ${error.message}`));
