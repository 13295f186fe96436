// One image: its prediction in words and on a scale, and the image with its heat map.

import { byId, make, mark, modelName, percent, sentence, whole } from "./dom.js";
import { describeMap, draw, drawCells, drawLegend, loadPng } from "./map.js";

const ZOOMS = [1, 1.5, 2, 3, 4, 6];
let shown = null; // {row, image, layer, grid} of the open image
let zoom = 1;

/** Connect the controls, once. */
export function prepareViewer() {
  byId("opacity").addEventListener("input", redraw);
  byId("map-on").addEventListener("change", redraw);
  byId("zoom-in").addEventListener("click", () => step(1));
  byId("zoom-out").addEventListener("click", () => step(-1));
  byId("zoom-fit").addEventListener("click", () => setZoom(1));
  const view = byId("window");
  view.addEventListener("keydown", ({ key, ctrlKey, metaKey }) => {
    if (ctrlKey || metaKey) return;
    if (key === "+" || key === "=") step(1);
    if (key === "-") step(-1);
    if (key === "0") setZoom(1);
  });
  view.addEventListener("dblclick", (event) => setZoom(zoom > 1 ? 1 : 3, event));
  view.addEventListener("pointerdown", drag);
}

/** Open an image, whether predicted, failed or waiting. */
export async function showImage(row) {
  const isNew = shown?.row !== row;
  shown = { row };
  byId("image-name").textContent = row.name;
  byId("pending").hidden = Boolean(row.prediction || row.error);
  byId("problem").hidden = !row.error;
  byId("problem-text").textContent = row.error?.message ?? "";
  byId("prediction").hidden = !row.prediction;
  if (!row.prediction) return;
  showPrediction(row);
  if (isNew) setZoom(1);
  const { image_png: image, heat_layer_png: layer, heat_map: map } = row.prediction;
  const images = await Promise.all([loadPng(image), loadPng(layer)]);
  if (shown.row !== row) return; // another image was opened in the meantime
  shown = { row, image: images[0], layer: images[1], grid: drawCells(map) };
  redraw();
}

function showPrediction({ name, prediction, model, notice }) {
  const { label, probability, threshold, warnings, heat_map: map } = prediction;
  byId("label").replaceChildren(mark(label), label);
  Object.assign(byId("probability"), { value: probability, textContent: percent(probability) });
  byId("scale-threshold").textContent = percent(threshold);
  byId("scale").style.setProperty("--probability", probability);
  byId("scale").style.setProperty("--threshold", threshold);
  const relation = probability >= threshold ? "at or above" : "below";
  byId("reading").textContent =
    `This is ${relation} the threshold of ${percent(threshold)}, so the model labels the image ${label}.`;
  byId("warnings").replaceChildren(...(warnings ?? []).map((warning) => make("li", {}, sentence(warning.message))));
  byId("warnings").hidden = !warnings?.length;
  byId("prediction-notice").textContent = notice;
  byId("fine-print").textContent =
    `${modelName(model)} \u00b7 graph ${model.sha256.slice(0, 12)} \u00b7 ${prediction.milliseconds.toFixed(0)} ms`;
  const words = describeMap(map);
  byId("map-words").textContent = words;
  byId("picture").setAttribute("aria-label", `${name} with its heat map. ${words}`);
  byId("native-size").textContent = `${map.grid.length} \u00d7 ${map.grid[0].length}`;
}

function redraw() {
  const on = byId("map-on").checked;
  byId("opacity").disabled = !on;
  byId("opacity-value").textContent = whole(byId("opacity").value);
  if (!shown?.image) return;
  const opacity = on ? byId("opacity").value / 100 : 0;
  drawLegend(byId("legend"), opacity);
  draw(byId("picture"), shown.image, shown.layer, opacity);
  draw(byId("native-picture"), shown.image, shown.grid, opacity);
}

function step(by) {
  const next = ZOOMS.indexOf(zoom) + by;
  if (ZOOMS[next]) setZoom(ZOOMS[next]);
}

/** Zoom around the pointer, or around the centre of the visible part. */
function setZoom(next, pointer = null) {
  const view = byId("window");
  const box = view.getBoundingClientRect();
  const x = pointer ? pointer.clientX - box.left : view.clientWidth / 2;
  const y = pointer ? pointer.clientY - box.top : view.clientHeight / 2;
  const left = ((view.scrollLeft + x) * next) / zoom - x;
  const top = ((view.scrollTop + y) * next) / zoom - y;
  zoom = next;
  byId("picture").style.setProperty("--zoom", zoom);
  view.classList.toggle("enlarged", zoom > 1);
  view.scrollTo(left, top);
  byId("zoom-value").textContent = whole(100 * zoom);
  byId("zoom-out").disabled = zoom === ZOOMS[0];
  byId("zoom-in").disabled = zoom === ZOOMS.at(-1);
}

/** Move an enlarged image with the mouse; touch scrolls it anyway. */
function drag(start) {
  if (zoom === 1 || start.pointerType !== "mouse" || start.button) return;
  const view = byId("window");
  const { scrollLeft, scrollTop } = view;
  const move = (event) => view.scrollTo(
    scrollLeft + start.clientX - event.clientX, scrollTop + start.clientY - event.clientY);
  const end = new AbortController();
  view.setPointerCapture(start.pointerId);
  view.addEventListener("pointermove", move, { signal: end.signal });
  for (const name of ["pointerup", "pointercancel"])
    view.addEventListener(name, () => end.abort(), { signal: end.signal });
}
