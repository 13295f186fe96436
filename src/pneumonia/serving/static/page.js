// The page: films come in, answers are shown. Nothing leaves the page but films to /predict.

import { csv, download } from "./csv.js";
import { byId, count, make, percent } from "./dom.js";
import { prepareViewer, showFilm } from "./film.js";
import { send } from "./send.js";
import { notes, prepareTable, showTable, sorted } from "./table.js";

const STOPPED = { code: "stopped", message: "Stopped before it was answered." };
const FOLDER = { code: "folder", message: "This is a folder: open it and drop the films in it." };
// Of the test split, in the order of the model card.
const METRICS = { auc: "AUC", sensitivity: "Sensitivity", specificity: "Specificity", brier: "Brier score" };

let rows = []; // {id, name, file, answer, model, error}
let current = null;
let lastId = 0;
let work = null; // AbortController of the films that are being sent
let queue = [];

function add(files) {
  const added = [...files].map(({ file, name, error }) => ({ id: ++lastId, file, name, error }));
  if (!added.length) return;
  rows.push(...added);
  if (!current) current = added[0];
  queue.push(...added.filter((row) => !row.error));
  render();
  run();
}

async function run() {
  if (work || !queue.length) return;
  work = new AbortController();
  const { signal } = work;
  const batch = queue.splice(0);
  const progress = { done: 0, films: batch.length };
  showProgress(progress);
  const settle = (row, result) => {
    Object.assign(row, result);
    progress.done += 1;
    showProgress(progress);
    render();
    if (row === current) showFilm(row);
  };
  const told = {
    // The film's bytes are let go as soon as they are of no more use.
    answer: (row, answer, model) =>
      settle(row, { answer: { ...answer, heat_map_png: null }, model, file: null }),
    error: (row, error) => settle(row, { error }),
    wait: (seconds) => showProgress(progress, `The server is busy: next try in ${Math.ceil(seconds)} s`),
  };
  try {
    await send(batch, told, signal);
  } catch {
    for (const row of [...batch, ...queue.splice(0)])
      if (!row.answer && !row.error) row.error = STOPPED;
  }
  work = null;
  byId("progress").hidden = true;
  if (rows.length) finish(batch);
  run();
}

function finish(batch) {
  render();
  if (current) showFilm(current);
  const [only] = batch;
  if (batch.length === 1 && only.answer) {
    const { label, probability, warnings } = only.answer;
    const more = warnings?.length ? ` ${count(warnings.length, "warning")}.` : "";
    say(`${only.name}: ${label}, probability of pneumonia ${percent(probability)}.${more}`);
  } else if (batch.length === 1) {
    say(`${only.name}: no answer. ${only.error.message}`);
  } else {
    say(summary());
  }
}

function open(row) {
  current = row;
  showTable(sorted(rows), current, open);
  showFilm(row);
  const { label, probability } = row.answer ?? {};
  say(`${row.name}: ${label ? `${label}, ${percent(probability)}. ${notes(row)}` : notes(row) || "waiting"}`);
  // Where the film is below the table, its opening must be seen.
  if (getComputedStyle(byId("back")).display !== "none") byId("film-name").focus();
}

function render() {
  document.body.classList.toggle("begun", rows.length > 0);
  byId("results").hidden = !rows.length;
  byId("results").classList.toggle("many", rows.length > 1);
  byId("summary").textContent = summary();
  byId("again").hidden = Boolean(work) || !rows.some((row) => row.error && row.file);
  showTable(sorted(rows), current, open);
  if (current && !current.answer) showFilm(current);
}

function summary() {
  const of = (label) => rows.filter((row) => row.answer?.label === label).length;
  const warned = rows.filter((row) => row.answer?.warnings?.length).length;
  const failed = rows.filter((row) => row.error).length;
  const parts = [count(rows.length, "film"), `${of("PNEUMONIA")} PNEUMONIA`, `${of("NORMAL")} NORMAL`];
  if (warned) parts.push(`${warned} with warnings`);
  if (failed) parts.push(`${failed} without an answer`);
  return parts.join(", ");
}

function say(text) {
  byId("said").textContent = text;
}

function showProgress({ done, films }, text = "") {
  byId("progress").hidden = false;
  byId("progress-bar").max = films;
  byId("progress-bar").value = done;
  byId("progress-text").textContent = text || `${done} of ${count(films, "film")} answered`;
}

function clear() {
  work?.abort();
  rows = [];
  queue = [];
  current = null;
  render();
  say("Cleared.");
  byId("files").focus();
}

function prepareIntake() {
  const named = (file) => ({ file, name: file.name || "film" });
  byId("files").addEventListener("change", ({ target }) => {
    add([...target.files].map(named));
    target.value = ""; // so that the same file can be chosen again
  });
  document.addEventListener("paste", ({ clipboardData }) => {
    const files = [...clipboardData.files];
    add(files.map((file, place) => ({ file, name: `pasted ${rows.length + place + 1}: ${file.name}` })));
  });
  // The whole page takes a drop: a film that misses the box would otherwise replace the page.
  const over = (is) => byId("drop").classList.toggle("over", is);
  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    over(true);
  });
  document.addEventListener("dragleave", ({ relatedTarget }) => relatedTarget || over(false));
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    over(false);
    const items = [...event.dataTransfer.items].filter((item) => item.kind === "file");
    add(items.map((item) => {
      const folder = item.webkitGetAsEntry?.()?.isDirectory;
      const file = item.getAsFile();
      return folder ? { name: file.name, error: FOLDER } : named(file);
    }));
  });
}

async function fetchSample({ name, url }) {
  const response = await fetch(url);
  if (!response.ok) throw new Error(name);
  const file = new File([await response.blob()], `${name}.png`, { type: "image/png" });
  return { file, name: file.name };
}

async function trySamples(samples) {
  try {
    add(await Promise.all(samples.map(fetchSample)));
  } catch {
    say("The drawn films could not be fetched: try again later.");
  }
}

function sampleButton(sample) {
  const image = make("img", { src: sample.url, alt: "", loading: "lazy", width: 112, height: 112 });
  const truth = make("span", { className: "soft small" }, `drawn as ${sample.label}`);
  const button = make("button", { type: "button", className: "sample" }, image, sample.name, truth);
  button.addEventListener("click", () => trySamples([sample]));
  return make("li", {}, button);
}

async function showSamples() {
  const samples = await json("/samples/");
  if (!samples?.length) return;
  byId("sample-list").replaceChildren(...samples.map(sampleButton));
  byId("all-samples").addEventListener("click", () => trySamples(samples));
  byId("samples").hidden = false;
}

async function showModel() {
  const model = await json("/model");
  if (!model) return;
  byId("model-name").textContent = `${model.name}${model.version ? `, version ${model.version}` : ""}`;
  byId("card-link").hidden = !model.card;
  const facts = { Threshold: percent(model.threshold) };
  for (const [key, title] of Object.entries(METRICS)) {
    const { value, low, high } = model.metrics?.test?.[key] ?? {};
    if (Number.isFinite(value)) facts[title] = interval(value, low, high);
  }
  facts["Graph, SHA-256"] = model.hashes?.graph_sha256;
  facts["Data digest"] = model.data?.digest;
  const known = Object.entries(facts).filter(([, text]) => text);
  byId("facts").replaceChildren(...known.map(([title, text]) =>
    make("div", {}, make("dt", {}, title), make("dd", {}, text))));
  byId("about").hidden = false;
}

function interval(value, low, high) {
  const known = Number.isFinite(low) && Number.isFinite(high);
  return value.toFixed(3) + (known ? ` [${low.toFixed(3)}, ${high.toFixed(3)}]` : "");
}

async function json(address) {
  try {
    const response = await fetch(address);
    return response.ok ? await response.json() : null;
  } catch {
    return null;
  }
}

prepareViewer();
prepareTable(render);
prepareIntake();
byId("stop").addEventListener("click", () => work?.abort());
byId("clear").addEventListener("click", clear);
byId("csv").addEventListener("click", () => download("predictions.csv", csv(sorted(rows))));
byId("again").addEventListener("click", () => {
  const failed = rows.filter((row) => row.error && row.file);
  for (const row of failed) row.error = undefined;
  queue.push(...failed);
  run();
  render();
});
showSamples();
showModel();
