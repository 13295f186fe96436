// Facts about the model.

import { byId, fetchJson, make, modelName, percent } from "./dom.js";

// Of the test split, in the order of the model card.
const METRICS = { auc: "AUC", sensitivity: "Sensitivity", specificity: "Specificity", brier: "Brier score" };

/** Fetch and show them; if that fails, the page works without. */
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
