/* The generator, in a thread of its own so that the page stays quick: loads what page.json lists, answers calls. */

import { Sampler } from "./sampler.js";

const CHECKED_IMAGES = 2, CHECKED_LEVELS = 2;
let sampler, provider;

const report = (received, total) => postMessage({ progress: { received, total } });

/** A file's bytes; `heard` is told of each piece. */
async function download(name, heard) {
  const response = await fetch(name).catch(() => null);
  if (!response?.ok) throw new Error(`${name} could not be loaded${response ? `: status ${response.status}` : ""}`);
  const pieces = [];
  for (const reader = response.body.getReader(); ;) {
    const { done, value } = await reader.read();
    if (done) return new Uint8Array(await new Blob(pieces).arrayBuffer());
    pieces.push(value);
    heard(value.length);
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

/** The runtime of a variant, and the generator's bytes. */
async function load(about, { module, loader, binary, bytes }) {
  let received = 0;
  const heard = (more) => report((received += more), about.bytes + bytes);
  report(0, about.bytes + bytes);
  const [graph, wasmBinary, ort] = await Promise.all([
    download(about.graph, heard), download(binary, heard), import(address(module)),
  ]);
  Object.assign(ort.env.wasm, { numThreads: 1, wasmBinary, wasmPaths: { mjs: address(loader), wasm: address(binary) } });
  ort.env.logLevel = "error";
  return [ort, graph];
}

const open = (ort, graph, on) => Sampler.open(ort, graph, { executionProviders: [on], logSeverityLevel: 3 });

/** Throws unless a graphics card draws what the processor draws: drivers have been wrong before. */
async function check(found, reference) {
  const z = reference.latents(CHECKED_IMAGES);
  const [ours, theirs] = [await found.images(z), await reference.images(z)];
  if (ours.data.some((level, i) => Math.abs(level - theirs.data[i]) > CHECKED_LEVELS)) {
    throw new Error("the graphics card draws other images");
  }
}

async function start(about, name) {
  const [ort, graph] = await load(about, about.runtimes[name]);
  const found = await open(ort, graph, name);
  if (name !== "wasm") await check(found, await open(ort, graph, "wasm"));
  [sampler, provider] = [found, name];
}

const calls = {
  async open() {
    const about = JSON.parse(new TextDecoder().decode(await download("page.json", () => {})));
    let started = false;
    if (about.runtimes.webgpu && (await hasGraphicsCard())) {
      started = await start(about, "webgpu").then(() => true, () => false);
    }
    if (!started) await start(about, "wasm");
    return { provider, latentDim: sampler.latentDim, distribution: sampler.distribution };
  },
  latents: (count, seed) => sampler.latents(count, seed),
  async images(z) {
    const begun = performance.now(), images = await sampler.images(z);
    return { images, milliseconds: performance.now() - begun };
  },
};

async function answer({ id, name, values }) {
  try {
    postMessage({ id, result: await calls[name](...values) });
  } catch (error) {
    postMessage({ id, error: String(error?.message ?? error) });
  }
}

// One after another: a session on a graphics card that is run twice at once ends neither.
let last = Promise.resolve();
onmessage = ({ data }) => {
  last = last.then(() => answer(data));
};
