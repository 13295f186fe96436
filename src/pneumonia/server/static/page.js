// The page: images are chosen, sent to /predict, and their predictions shown. Nothing else is sent.

import { showModel, showSamples } from "./model_and_samples.js";
import { csv, download } from "./csv.js";
import { byId, count, percent, sentence } from "./dom.js";
import { prepareViewer, showImage } from "./image.js";
import { send } from "./send.js";
import { notes, prepareTable, showTable, sorted } from "./table.js";

const STOPPED = { code: "stopped", message: "Stopped before its prediction.", again: true };
const FOLDER = { code: "folder", message: "This is a folder: open it and drop the images in it." };

let rows = []; // {id, name, file} and later {prediction, model, notice} or {error}
let current = null;
let lastId = 0;
let work = null; // AbortController of the images that are being sent
let queue = [];
let scheduled = null; // the next frame, if there is something new to show

function add(files) {
  const added = files.map((image) => ({ id: ++lastId, ...image }));
  if (!added.length) return;
  rows.push(...added);
  [current] = added;
  queue.push(...added.filter((row) => !row.error));
  showImage(current);
  render();
  run();
}

async function run() {
  if (work || !queue.length) return;
  work = new AbortController();
  const { signal } = work;
  const batch = queue.splice(0);
  let done = 0;
  showProgress(done, batch.length);
  const settle = (row, result) => {
    Object.assign(row, result);
    showProgress(++done, batch.length);
    render();
    if (row === current) showImage(row);
  };
  const handlers = {
    // Release the image's bytes, which are not needed any more.
    prediction: (row, prediction, { model, notice }) =>
      settle(row, { prediction: { ...prediction, heat_map_png: null }, model, notice, file: null }),
    error: (row, error) => settle(row, { error: { ...error, message: sentence(error.message) } }),
    wait: (seconds) => showProgress(done, batch.length, `The server is busy: next try in ${Math.ceil(seconds)} s`),
  };
  try {
    await send(batch, handlers, signal);
  } catch (error) {
    if (!signal.aborted) console.error(error);
    for (const row of [...batch, ...queue.splice(0)])
      if (!row.prediction && !row.error) row.error = STOPPED;
  }
  work = null;
  byId("progress").hidden = true;
  if (rows.includes(batch[0])) finish(batch);
  run();
}

function finish(batch) {
  render();
  announce(batch.length === 1 ? outcome(batch[0]) : summary());
}

/** What is known about an image, as a sentence. */
function outcome(row) {
  if (row.error) return `${row.name}: no prediction. ${row.error.message}`;
  if (!row.prediction) return `${row.name}: waiting for its prediction.`;
  const { label, probability } = row.prediction;
  const text = `${row.name}: ${label}, probability of pneumonia ${percent(probability)}.`;
  return notes(row) ? `${text} ${notes(row)}.` : text;
}

function open(row) {
  current = row;
  showTable(sorted(rows), current, open);
  showImage(row);
  announce(outcome(row));
  // On a narrow screen the image is below the table: move there.
  if (getComputedStyle(byId("back")).display !== "none") byId("image-name").focus();
}

/** Show the rows with the next frame: once, for any number of new predictions. */
function render() {
  scheduled ??= requestAnimationFrame(renderNow);
}

function renderNow() {
  scheduled = null;
  document.body.classList.toggle("begun", rows.length > 0);
  byId("results").hidden = !rows.length;
  byId("results").classList.toggle("many", rows.length > 1);
  byId("summary").textContent = summary();
  byId("again").hidden = Boolean(work) || !rows.some(canTryAgain);
  showTable(sorted(rows), current, open);
  if (current && !current.prediction) showImage(current);
}

/** Whether another try may help; not for an image that cannot be read. */
const canTryAgain = ({ error }) => Boolean(error?.again);

function summary() {
  const number = (holds) => rows.filter(holds).length;
  const labelled = (label) => `${number((row) => row.prediction?.label === label)} ${label}`;
  const warned = number((row) => row.prediction?.warnings?.length);
  const failed = number((row) => row.error);
  return [
    count(rows.length, "image"), labelled("PNEUMONIA"), labelled("NORMAL"),
    warned && `${warned} with warnings`, failed && `${failed} without a prediction`,
  ].filter(Boolean).join(", ");
}

/** Tell people who use a screen reader. */
const announce = (text) => { byId("status").textContent = text; };

function showProgress(done, images, text = `${done} of ${count(images, "image")} predicted`) {
  byId("progress").hidden = false;
  Object.assign(byId("progress-bar"), { max: images, value: done });
  byId("progress-text").textContent = text;
}

function clear() {
  work?.abort();
  [rows, queue, current] = [[], [], null];
  render();
  announce("Cleared.");
  byId("files").focus();
}

function prepareIntake() {
  const named = (file) => ({ file, name: file.name || "image" });
  byId("files").addEventListener("change", ({ target }) => {
    add([...target.files].map(named));
    target.value = ""; // so that the same file can be chosen again
  });
  document.addEventListener("paste", ({ clipboardData: { files } }) =>
    add([...files].map((file, index) => ({ file, name: `pasted ${rows.length + index + 1}: ${file.name}` }))));
  // The whole page accepts a drop: otherwise an image dropped beside the box would replace the page.
  const over = (isOver) => byId("drop").classList.toggle("over", isOver);
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
      return folder ? { name: file?.name ?? "folder", error: FOLDER } : named(file);
    }));
  });
}

prepareViewer();
prepareTable(render);
prepareIntake();
byId("stop").addEventListener("click", () => work?.abort());
byId("clear").addEventListener("click", clear);
byId("csv").addEventListener("click", () => download("predictions.csv", csv(sorted(rows))));
byId("again").addEventListener("click", () => {
  const failed = rows.filter(canTryAgain);
  for (const row of failed) row.error = undefined;
  queue.push(...failed);
  run();
  render();
});
showSamples(add, announce);
showModel();
