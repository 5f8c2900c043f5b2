// What the outputs of one sample say, by the model's task. In index.html model.js stands before it, page.js behind it.

const MOST_VALUES = 50;
const MOST_LISTED = 8; // of each output that the task does not read
const sigmoid = (logit) => 1 / (1 + Math.exp(-logit));
const short = (value) => (typeof value === "bigint" ? String(value) : String(Number(value.toPrecision(5))));
const percent = (share) => `${(100 * share).toFixed(1)} %`;

/**
 * The outputs of a sample, as `predict` gives them -> what is said of them: `text` above all, a `note` below it, `rows`
 * under `columns` (a row's name, its share of a bar, its value), and `classes` or `again`, of which a picture is made.
 * The task reads one of them; the `note` ends with what the others are.
 */
function answerOf(contract, outputs, input) {
  const made = ArrayBuffer.isView(outputs) ? [outputs] : contract.outputs.map(({ name }) => outputs[name]);
  const read = judged(contract);
  const said = (SAID[contract.task.name] ?? values)({ ...contract, outputs: [contract.outputs[read]] }, made[read], input);
  const others = contract.outputs.flatMap(({ name }, index) => (index === read ? [] : [`${name}: ${listed(made[index])}`]));
  const note = [said.note, ...others].filter(Boolean).join("; ");
  return { columns: ["Output", "", "Value"], classes: null, again: null, ...said, note };
}

/** Which output the task reads, by its place. */
function judged({ task, outputs }) {
  const found = outputs.findIndex(({ name }) => name === task.output);
  return found < 0 ? Number(task.output ?? 0) || 0 : found;
}

function listed(values) {
  const shown = Array.from(values.subarray(0, MOST_LISTED), short).join(" ");
  return values.length > MOST_LISTED ? `${shown} … (${values.length} values)` : shown;
}

const nameOf = (contract, index) => contract.classes[index] ?? String(index);

const SAID = {
  classification(contract, outputs) {
    const order = Array.from(outputs.keys()).sort((a, b) => outputs[b] - outputs[a]);
    const { of, title } = shares(outputs);
    const rows = order.map((index, rank) => {
      return { index, name: nameOf(contract, index), share: of[index], value: outputs[index].toFixed(4), best: rank === 0 };
    });
    return { text: rows[0].name, columns: ["Class", title, "Score"], rows };
  },

  binary(contract, [logit]) {
    const rows = [1, 0].map((index) => {
      const share = sigmoid(index === 1 ? logit : -logit);
      return { index, name: nameOf(contract, index), share, value: percent(share), best: index === Number(logit > 0) };
    });
    const note = `Logit ${short(logit)}; above 0 it is ${nameOf(contract, 1)}`;
    return { text: nameOf(contract, Number(logit > 0)), note, columns: ["Class", "Probability", ""], rows };
  },

  multilabel(contract, outputs) {
    const order = Array.from(outputs.keys()).sort((a, b) => outputs[b] - outputs[a]);
    const rows = order.map((index) => {
      const logit = outputs[index];
      return { index, name: nameOf(contract, index), share: sigmoid(logit), value: percent(sigmoid(logit)), best: logit > 0 };
    });
    const held = rows.filter((row) => row.best).map((row) => row.name);
    const note = `${held.length} of ${rows.length} labels hold, those above 50 %`;
    return { text: held.join(", ") || "No label", note, columns: ["Label", "Probability", ""], rows };
  },

  regression(contract, outputs) {
    if (outputs.length !== 1) return values(contract, outputs);
    return { text: short(outputs[0]), rows: [] };
  },

  reconstruction(contract, outputs, input) {
    let total = 0;
    for (let at = 0; at < input.length; at += 1) total += (Number(outputs[at]) - Number(input[at])) ** 2;
    const note = "Anomaly score: the mean square error between the input and what the model makes of it";
    return { ...values(contract, outputs), text: short(total / input.length), note, again: outputs };
  },

  segmentation(contract, outputs) {
    const [channels, height, width] = contract.outputs[0].shape;
    const plane = height * width;
    const chosen = new Uint16Array(plane);
    for (let pixel = 0; pixel < plane; pixel += 1) {
      if (channels === 1) chosen[pixel] = Number(outputs[pixel] > 0);
      for (let channel = 1; channel < channels; channel += 1) {
        if (outputs[channel * plane + pixel] > outputs[chosen[pixel] * plane + pixel]) chosen[pixel] = channel;
      }
    }
    const counts = new Array(Math.max(channels, 2)).fill(0);
    for (const index of chosen) counts[index] += 1;
    const order = Array.from(counts.keys()).sort((a, b) => counts[b] - counts[a]);
    const rows = order.map((index, rank) => {
      const share = counts[index] / plane;
      return { index, name: nameOf(contract, index), share, value: percent(share), best: rank === 0, colour: colour(index) };
    });
    const found = counts.filter((count) => count > 0).length;
    const text = `${found} ${found === 1 ? "class" : "classes"}`;
    return { text, note: `in ${width} × ${height} pixels`, columns: ["Class", "Share of pixels", ""], rows, classes: chosen };
  },
};

/** Of a task that says no more of its outputs: the first of them. */
function values(contract, outputs) {
  const rows = Array.from(outputs.subarray(0, MOST_VALUES), (value, index) => {
    return { index, name: String(index), share: null, value: short(value), best: false };
  });
  const { shape } = contract.outputs[0];
  const note = outputs.length > MOST_VALUES ? `The first ${MOST_VALUES} are shown` : "";
  const text = `${shape.length > 1 ? shape.join(" × ") : outputs.length} ${outputs.length === 1 ? "value" : "values"}`;
  return { text, note, rows };
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

/** Red, green and blue of a class: hues that lie a golden angle apart, so that neighbours differ. */
function colour(index) {
  const hue = (index * 137.5 + 220) % 360;
  return [0, 8, 4].map((turn) => {
    const at = (turn + hue / 30) % 12; // from hue, saturation 0.7 and lightness 0.5
    return Math.round(255 * (0.5 - 0.35 * Math.max(-1, Math.min(at - 3, 9 - at, 1))));
  });
}
