// The two sections below the images: drawn images to try, and facts about the model.

import { byId, fetchJson, make, mark, modelName, percent } from "./dom.js";

// Of the test split, in the order of the model card.
const METRICS = { auc: "AUC", sensitivity: "Sensitivity", specificity: "Specificity", brier: "Brier score" };

/** Fetch and show the facts; if that fails, the page works without. */
export async function showModel() {
  const model = await fetchJson("/model");
  if (!model) return;
  byId("model-name").textContent = modelName(model);
  byId("card-link").hidden = !model.card;
  const facts = { Threshold: percent(model.threshold) };
  for (const [key, title] of Object.entries(METRICS)) {
    const { value, low, high } = model.metrics?.test?.[key] ?? {};
    if (Number.isFinite(value)) facts[title] = interval(value, low, high);
  }
  byId("measured").hidden = Object.keys(facts).length === 1;
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

async function fetchSample({ name, url }) {
  const response = await fetch(url);
  if (!response.ok) throw new Error(name);
  const file = new File([await response.blob()], `${name}.png`, { type: "image/png" });
  return { file, name: file.name };
}

function sampleButton(sample, choose) {
  const image = make("img", { src: sample.url, alt: "", loading: "lazy", width: 112, height: 112 });
  const truth = make("span", { className: "soft small" }, mark(sample.label), sample.label);
  const properties = { type: "button", className: "sample", onclick: () => choose([sample]) };
  return make("li", {}, make("button", properties, image, sample.name, truth));
}

/** Fetch and show the drawn images; `add(images)` predicts the chosen ones, `announce(text)` reports a failure. */
export async function showSamples(add, announce) {
  const choose = async (chosen) => {
    try {
      add(await Promise.all(chosen.map(fetchSample)));
    } catch {
      announce("The drawn images could not be fetched: try again later.");
    }
  };
  const samples = await fetchJson("/samples/");
  if (!samples?.length) return;
  byId("sample-list").replaceChildren(...samples.map((sample) => sampleButton(sample, choose)));
  byId("all-samples").addEventListener("click", () => choose(samples));
  byId("samples").hidden = false;
}
