// Images to /predict and back, in requests that stay within the server's limits.

const TARGET = "/predict?layers=true";
const IMAGES = 4; // a request: few enough to see progress
const BYTES = 16 * 2 ** 20; // a request; a larger image is sent alone
const AT_ONCE = 2;
const BUSY = [429, 503];
const TRIES = 6;
const LONGEST_WAIT = 30; // s

const UNREACHABLE = {
  code: "unreachable",
  message: "No response: the server cannot be reached, or the file is too large or can no longer be read.",
  again: true,
};

/**
 * Send images, `{file, name}` each, a few at once.
 *
 * `handlers.prediction(row, prediction, {model, notice})` or `.error(row, {code, message})` is called once for
 * each image, `.wait(seconds)` when the server is busy. `signal` ends it; no handler is called for the others.
 */
export async function send(rows, handlers, signal) {
  const waiting = chunks(rows);
  const work = async () => {
    while (waiting.length) await post(waiting.shift(), handlers, signal);
  };
  await Promise.all(Array.from({ length: AT_ONCE }, work));
}

/** Rows in groups that fit into a request. */
export function chunks(rows) {
  const groups = [];
  let bytes = Infinity;
  for (const row of rows) {
    bytes += row.file.size;
    if (bytes > BYTES || groups.at(-1).length === IMAGES) {
      groups.push([]);
      bytes = row.file.size;
    }
    groups.at(-1).push(row);
  }
  return groups;
}

async function post(rows, handlers, signal) {
  const response = await postWithRetries(rows, handlers, signal);
  const body = response?.ok ? await response.json().catch(() => null) : null;
  if (body?.predictions?.length === rows.length) {
    for (const [index, prediction] of body.predictions.entries()) {
      if (prediction.error) handlers.error(rows[index], prediction.error);
      else handlers.prediction(rows[index], prediction, body);
    }
    return;
  }
  signal.throwIfAborted();
  if (rows.length > 1) {
    // Too large together, or one of them makes the request fail: try each half.
    const middle = Math.ceil(rows.length / 2);
    await post(rows.slice(0, middle), handlers, signal);
    await post(rows.slice(middle), handlers, signal);
    return;
  }
  handlers.error(rows[0], response ? await describeError(response) : UNREACHABLE);
}

/** The response, after waiting as long as a busy server asks for; null without a response. */
async function postWithRetries(rows, handlers, signal) {
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
    const seconds = waitSeconds(response.headers.get("Retry-After"), attempt);
    handlers.wait(seconds);
    await pause(seconds, signal);
  }
}

/** Seconds to wait: Retry-After in seconds or as a date, else twice as long each time. */
export function waitSeconds(header, attempt) {
  const number = Number(header ?? NaN);
  const seconds = Number.isFinite(number) ? number : (Date.parse(header) - Date.now()) / 1000;
  const chosen = Number.isFinite(seconds) ? seconds : 2 ** (attempt - 1);
  return Math.min(LONGEST_WAIT, Math.max(0.1, chosen));
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

/** Code and message of a refused request, and whether another try may help. */
async function describeError(response) {
  const body = await response.json().catch(() => null);
  const again = response.status === 429 || response.status >= 500;
  if (body?.error?.message) return { ...body.error, again };
  const message = BUSY.includes(response.status)
    ? "The server is too busy: try again later."
    : `The server failed (${response.status}): try again later.`;
  return { code: `status_${response.status}`, message, again };
}
