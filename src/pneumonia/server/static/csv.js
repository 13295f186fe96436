// The answers as a CSV file (RFC 4180), made in the browser.

const COLUMNS = ["file", "label", "probability", "threshold", "warnings", "error", "model", "version", "sha256"];

/** The text of the file, a line an image in the order given. */
export function csv(rows) {
  const lines = rows.map(({ name, answer, model, error }) => [
    name, answer?.label, answer?.probability, answer?.threshold,
    (answer?.warnings ?? []).map((one) => one.code).join(" "),
    error?.message, model?.name, model?.version, model?.sha256,
  ]);
  return [COLUMNS, ...lines].map((line) => `${line.map(cell).join(",")}\r\n`).join("");
}

/** One cell. Text that a spreadsheet would run as a formula gets an apostrophe before it. */
export function cell(value) {
  if (typeof value === "number") return String(value);
  const text = String(value ?? "");
  const safe = /^[\s]*[=+\-@\t\r]/.test(text) ? `'${text}` : text;
  return /[",\r\n']/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}

/** Hand a file to the person. */
export function download(name, text) {
  // The mark tells Excel that the text is UTF-8.
  const address = URL.createObjectURL(new Blob(["\ufeff", text], { type: "text/csv" }));
  const link = document.createElement("a");
  Object.assign(link, { href: address, download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(address), 1000);
}
