/* Runs the generator in its own thread, so that the page stays responsive: loads the files of page.json, takes calls. */

import { picture, Sampler } from "./sampler.js";

const CHECKED_IMAGES = 2, CHECKED_LEVELS = 2; // a graphics card must agree on these images to these levels of 255
let sampler, provider;

const report = (received, total) => postMessage({ progress: { received, total } });

/** Return the bytes of a file; `onReceive` is called with the length of each piece. */
async function download(name, onReceive) {
  const response = await fetch(name).catch(() => null);
  if (!response?.ok) throw new Error(`${name} could not be loaded${response ? `: status ${response.status}` : ""}`);
  const pieces = [];
  for (const reader = response.body.getReader(); ;) {
    const { done, value } = await reader.read();
    if (done) return new Uint8Array(await new Blob(pieces).arrayBuffer());
    pieces.push(value);
    onReceive(value.length);
  }
}

async function hasGraphicsCard() {
  try {
    const adapter = await navigator.gpu?.requestAdapter();
    return Boolean(adapter) && !(adapter.info?.isFallbackAdapter ?? adapter.isFallbackAdapter);
  } catch {
    return false;
  }
}

const address = (name) => new URL(name, import.meta.url).href;

/** Return the runtime of a variant, and the bytes of the generator. */
async function load(manifest, { module, loader, binary, bytes }) {
  let received = 0;
  const onReceive = (more) => report((received += more), manifest.bytes + bytes);
  report(0, manifest.bytes + bytes);
  const [graph, wasmBinary, ort] = await Promise.all([
    download(manifest.graph, onReceive), download(binary, onReceive), import(address(module)),
  ]);
  Object.assign(ort.env.wasm, { numThreads: 1, wasmBinary, wasmPaths: { mjs: address(loader), wasm: address(binary) } });
  ort.env.logLevel = "error";
  return [ort, graph];
}

const open = (ort, graph, name) => Sampler.open(ort, graph, { executionProviders: [name], logSeverityLevel: 3 });

/** Throw unless a graphics card computes the images of the processor: some drivers compute wrong results. */
async function check(candidate, reference) {
  const z = reference.latents(CHECKED_IMAGES), labels = reference.labels(CHECKED_IMAGES);
  const levels = async (sampler) => picture(await sampler.images(z, labels), sampler.values).data;
  const [found, expected] = [await levels(candidate), await levels(reference)];
  if (found.some((level, i) => Math.abs(level - expected[i]) > CHECKED_LEVELS)) {
    throw new Error("the graphics card computes different images");
  }
}

async function start(manifest, name) {
  const [ort, graph] = await load(manifest, manifest.runtimes[name]);
  const candidate = await open(ort, graph, name);
  if (name !== "wasm") await check(candidate, await open(ort, graph, "wasm"));
  [sampler, provider] = [candidate, name];
}

const calls = {
  async open() {
    const manifest = JSON.parse(new TextDecoder().decode(await download("page.json", () => {})));
    let started = false;
    if (manifest.runtimes.webgpu && (await hasGraphicsCard())) {
      started = await start(manifest, "webgpu").then(() => true, () => false);
    }
    if (!started) await start(manifest, "wasm");
    const { latentDim, distribution, values, classes } = sampler;
    return { provider, latentDim, distribution, values, classes };
  },
  latents: (count, seed) => sampler.latents(count, seed),
  labels: (count, seed, label) => sampler.labels(count, seed, label),
  sample: (count, seed) => sampler.sample(count, seed),
  async images(z, labels) {
    const started = performance.now(), images = await sampler.images(z, labels);
    return { images, milliseconds: performance.now() - started };
  },
};

async function answer({ id, name, values }) {
  try {
    postMessage({ id, result: await calls[name](...values) });
  } catch (error) {
    postMessage({ id, error: String(error?.message ?? error) });
  }
}

// Calls run one after another: two concurrent runs of a session on a graphics card never finish.
let last = Promise.resolve();
onmessage = ({ data }) => {
  last = last.then(() => answer(data));
};
