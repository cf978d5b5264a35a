/* What the pages share: calls of the worker, in which the generator runs, and what they show of its progress and errors. */

export const $ = (id) => document.getElementById(id);
export const controls = () => document.querySelectorAll("main :is(button, input, select, fieldset)");
const megabytes = (bytes) => (bytes / 1e6).toFixed(1);

const worker = new Worker("worker.js", { type: "module" });
const waiting = new Map();
let calls = 0;

/** Return the result of a function of the worker. */
export function call(name, ...values) {
  return new Promise((resolve, reject) => {
    waiting.set(++calls, { resolve, reject });
    worker.postMessage({ id: calls, name, values });
  });
}

worker.onmessage = ({ data: { id, result, error, progress } }) => {
  if (progress) return showProgress(progress);
  const { resolve, reject } = waiting.get(id);
  waiting.delete(id);
  if (error === undefined) resolve(result);
  else reject(new Error(error));
};
worker.onerror = (event) => {
  event.preventDefault();
  fail(new Error(event.message ?? "a part of the page could not be loaded"));
};

function showProgress({ received, total }) {
  const done = received >= total;
  $("progress").value = Math.min(1, received / total);
  if (done) $("progress").removeAttribute("value");
  $("loading-words").textContent = done ? "Starting the network…" : `Loading ${megabytes(received)} of ${megabytes(total)} MB`;
}

/** Show an error and disable all controls. */
export function fail(error) {
  for (const control of controls()) control.disabled = true;
  showProblem(`Try again, or use a browser from 2023 or later. The error: ${error.message}`);
}

/** Return a function that calls `work` with the latest values: of the calls while it is busy, only the last is made. */
export function latest(work) {
  let running = false, next = null;
  return async (...values) => {
    next = values;
    if (running) return;
    running = true;
    try {
      while (next) {
        const current = next;
        next = null;
        await work(...current);
      }
    } catch (error) {
      fail(error);
    } finally {
      running = false;
    }
  };
}

/** Return the seed of a field in decimal; if it is invalid, show the browser's message at the field and return null. */
export function seedOf(id) {
  if (!$(id).reportValidity()) return null;
  return ($(id).value = BigInt($(id).value).toString());
}

/** Let the visitor save a file. */
export function saveFile(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}
