// The predictions as a CSV file (RFC 4180), made in the browser.

const COLUMNS = ["file", "label", "probability", "threshold", "warnings", "error", "model", "version", "sha256"];

/** The text of the file: one line an image, in the given order. */
export function csv(rows) {
  const lines = rows.map(({ name, prediction, model, error }) => [
    name, prediction?.label, prediction?.probability, prediction?.threshold,
    (prediction?.warnings ?? []).map((warning) => warning.code).join(" "),
    error?.message, model?.name, model?.version, model?.sha256,
  ]);
  return [COLUMNS, ...lines].map((line) => `${line.map(cell).join(",")}\r\n`).join("");
}

/** One cell; an apostrophe before text that a spreadsheet would run as a formula. */
export function cell(value) {
  if (typeof value === "number") return String(value);
  const text = String(value ?? "");
  const safe = /^[\s]*[=+\-@\t\r]/.test(text) ? `'${text}` : text;
  return /[",\r\n']/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}

/** Download a file with this text. */
export function download(name, text) {
  // The mark tells Excel that the text is UTF-8.
  const address = URL.createObjectURL(new Blob(["\ufeff", text], { type: "text/csv" }));
  const link = document.createElement("a");
  Object.assign(link, { href: address, download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(address), 1000);
}
