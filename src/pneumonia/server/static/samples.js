// Drawn images to try.

import { byId, fetchJson, make, mark } from "./dom.js";

async function fetchSample({ name, url }) {
  const response = await fetch(url);
  if (!response.ok) throw new Error(name);
  const file = new File([await response.blob()], `${name}.png`, { type: "image/png" });
  return { file, name: file.name };
}

function sampleButton(sample, choose) {
  const image = make("img", { src: sample.url, alt: "", loading: "lazy", width: 112, height: 112 });
  const truth = make("span", { className: "soft small" }, mark(sample.label), sample.label);
  const button = make("button", { type: "button", className: "sample" }, image, sample.name, truth);
  button.addEventListener("click", () => choose([sample]));
  return make("li", {}, button);
}

/** Fetch and show them; `add(images)` predicts the chosen ones, `announce(text)` reports a failure. */
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
