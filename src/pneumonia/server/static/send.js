// Images to /predict and back, in requests that stay within the server's limits.

const TARGET = "/predict?layers=true";
const IMAGES = 4; // a request: few enough to see progress
const BYTES = 16 * 2 ** 20; // a request; a larger image goes alone
const AT_ONCE = 2;
const BUSY = [429, 503];
const TRIES = 6;
const LONGEST_WAIT = 30; // s

const UNREACHABLE = {
  code: "unreachable",
  message: "No answer came: the server cannot be reached, or the file is too large for it or can no longer be read.",
  again: true,
};

/**
 * Send images, a few at once.
 *
 * @param {{file: File, name: string}[]} rows one an image.
 * @param {object} told `answer(row, prediction, {model, notice})` and `error(row, {code, message})` are called
 *   once an image, one of both; `wait(seconds)` when the server is busy.
 * @param {AbortSignal} signal ends it; images without an answer are then told of to nobody.
 */
export async function send(rows, told, signal) {
  const waiting = chunks(rows);
  const work = async () => {
    while (waiting.length) await ask(waiting.shift(), told, signal);
  };
  await Promise.all(Array.from({ length: AT_ONCE }, work));
}

/** Rows in groups that fit into a request. */
export function chunks(rows) {
  const found = [];
  let bytes = Infinity;
  for (const row of rows) {
    bytes += row.file.size;
    if (bytes > BYTES || found.at(-1).length === IMAGES) {
      found.push([]);
      bytes = row.file.size;
    }
    found.at(-1).push(row);
  }
  return found;
}

async function ask(rows, told, signal) {
  const response = await patiently(rows, told, signal);
  if (response?.ok) {
    const answer = await response.json().catch(() => null);
    if (answer?.predictions?.length === rows.length) {
      rows.forEach((row, place) => hand(row, answer.predictions[place], answer, told));
      return;
    }
  }
  signal.throwIfAborted();
  if (rows.length > 1) {
    // Too much together, or one that spoils it for the others: each half has its own chance.
    const middle = Math.ceil(rows.length / 2);
    await ask(rows.slice(0, middle), told, signal);
    await ask(rows.slice(middle), told, signal);
    return;
  }
  told.error(rows[0], response ? await reason(response) : UNREACHABLE);
}

function hand(row, prediction, answer, told) {
  if (prediction.error) told.error(row, prediction.error);
  else told.answer(row, prediction, answer);
}

/** The response, after waiting for as long as a busy server asks; null where none came. */
async function patiently(rows, told, signal) {
  for (let attempt = 1; ; attempt++) {
    const form = new FormData();
    for (const row of rows) form.append("files", row.file, row.name);
    let response;
    try {
      response = await fetch(TARGET, { method: "POST", body: form, signal });
    } catch {
      signal.throwIfAborted();
      return null;
    }
    if (!BUSY.includes(response.status) || attempt === TRIES) return response;
    const seconds = wait(response.headers.get("Retry-After"), attempt);
    told.wait(seconds);
    await pause(seconds, signal);
  }
}

/** Seconds to wait: what the server says, seconds or a date, else twice as long each time. */
export function wait(header, attempt) {
  const given = Number(header ?? NaN);
  const seconds = Number.isFinite(given) ? given : (Date.parse(header) - Date.now()) / 1000;
  const longer = Number.isFinite(seconds) ? seconds : 2 ** (attempt - 1);
  return Math.min(LONGEST_WAIT, Math.max(0.1, longer));
}

function pause(seconds, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, 1000 * seconds);
    signal.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(signal.reason);
    });
  });
}

/** Code and message of a refused request, and whether it is worth another try. */
async function reason(response) {
  const body = await response.json().catch(() => null);
  const again = response.status === 429 || response.status >= 500;
  if (body?.error?.message) return { ...body.error, again };
  const message = BUSY.includes(response.status)
    ? "The server is too busy: try again later."
    : `The server failed (${response.status}): try again later.`;
  return { code: `status_${response.status}`, message, again };
}
