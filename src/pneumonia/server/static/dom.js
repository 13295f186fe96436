// Elements and formats of numbers, for the other modules. Text is always set as text, never as HTML.

const THIN = "\u202f";

export const byId = (id) => document.getElementById(id);

/** An element with properties and children; strings become text. */
export function make(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

/** A share as per cent with one decimal; what would round to 0 or 100 has "<" or ">". */
export function percent(share) {
  if (share > 0.999 && share < 1) return `>${THIN}99.9${THIN}%`;
  if (share > 0 && share < 0.001) return `<${THIN}0.1${THIN}%`;
  return `${(100 * share).toFixed(1)}${THIN}%`;
}

/** A whole per cent. */
export const whole = (value) => `${Math.round(value)}${THIN}%`;

/** "1 image", "2 images". */
export const count = (number, noun) => `${number} ${noun}${number === 1 ? "" : "s"}`;

/** A message of the server as a sentence: a capital at the beginning, a full stop at the end. */
export const sentence = (text) => text.charAt(0).toUpperCase() + text.slice(1) + (/[.!?]$/.test(text) ? "" : ".");

/** "pneumonia-chest-xray, version 3". */
export const modelName = ({ name, version }) => [name, version && `version ${version}`].filter(Boolean).join(", ");

/** The symbol of a label: a ring for NORMAL, a full diamond for PNEUMONIA. */
export function mark(label) {
  return make("span", { className: `mark ${label.toLowerCase()}`, ariaHidden: "true" });
}

/** The JSON at an address of this server; null if there is none. */
export async function fetchJson(address) {
  try {
    const response = await fetch(address);
    return response.ok ? await response.json() : null;
  } catch {
    return null;
  }
}
