/* The page of a generator of points: draws the first two dimensions, or the histogram of a single one. */

import { $, call, controls, fail, latest, saveFile, seedOf } from "./calls.js";
import { csv } from "./sampler.js";

const SEEDS = 1_000_000; // the random seeds are below this; the visitor may type any number
const MARGIN = 0.05, RADIUS = 3, BINS = 50; // of the drawing: a share of its side, pixels, the bars of a histogram
const PROVIDERS = { wasm: "your processor (WebAssembly)" };

let drawn;

/** Return dimension number `number` of points. */
const column = ({ count, dimensions, data }, number) => Array.from({ length: count }, (_, i) => data[i * dimensions + number]);

/** Return the least and the greatest value, which differ. */
function range(values) {
  const low = values.reduce((a, b) => Math.min(a, b)), high = values.reduce((a, b) => Math.max(a, b));
  return low < high ? [low, high] : [low - 1, high + 1];
}

/** Return the number of values in each of equal parts of a range. */
function histogram(values, [low, high]) {
  const bins = new Array(BINS).fill(0);
  for (const value of values) bins[Math.min(BINS - 1, Math.floor(((value - low) / (high - low)) * BINS))]++;
  return bins;
}

const inWords = ([low, high]) => `${low.toPrecision(3)} to ${high.toPrecision(3)}`;

/** Draw points and say what is shown. */
function paint(points) {
  const canvas = $("plot"), context = canvas.getContext("2d"), size = canvas.width, inner = size * (1 - 2 * MARGIN);
  context.clearRect(0, 0, size, size);
  context.fillStyle = getComputedStyle(document.documentElement).getPropertyValue("--accent");
  const x = column(points, 0), along = range(x);
  if (points.dimensions === 1) {
    const bins = histogram(x, along), most = Math.max(...bins), width = inner / BINS;
    bins.forEach((bin, i) => {
      const height = (bin / most) * inner;
      context.fillRect(size * MARGIN + i * width, size * (1 - MARGIN) - height, width - 1, height);
    });
    $("shown").textContent = `Histogram of the values, ${inWords(along)}, at most ${most} in a bar.`;
    return;
  }
  const y = column(points, 1), up = range(y), place = (value, [low, high]) => size * MARGIN + ((value - low) / (high - low)) * inner;
  x.forEach((value, i) => {
    context.beginPath();
    context.arc(place(value, along), size - place(y[i], up), RADIUS, 0, 2 * Math.PI);
    context.fill();
  });
  const of = points.dimensions === 2 ? "" : ` of ${points.dimensions}`;
  $("shown").textContent = `Dimension 1${of} to the right, ${inWords(along)}; dimension 2${of} upwards, ${inWords(up)}.`;
}

const draw = latest(async (seed, count) => {
  $("status").textContent = `Generating the points of seed ${seed}…`;
  const started = performance.now();
  drawn = { seed, points: await call("sample", count, seed) };
  const milliseconds = (performance.now() - started) / count;
  paint(drawn.points);
  $("code-seed").textContent = seed;
  $("code-count").textContent = count;
  $("time").textContent = `${milliseconds.toPrecision(2)} ms`;
  $("status").textContent = `${count} points of seed ${seed}`;
});

async function redraw() {
  const seed = seedOf("seed");
  if (seed !== null) await draw(seed, Number($("count").value));
}

function listen() {
  $("new").addEventListener("click", () => {
    $("seed").value = crypto.getRandomValues(new Uint32Array(1))[0] % SEEDS;
    redraw();
  });
  for (const id of ["seed", "count"]) $(id).addEventListener("change", redraw);
  $("draw-form").addEventListener("submit", (event) => event.preventDefault());
  $("save").addEventListener("click", () => saveFile(new Blob([csv(drawn.points)], { type: "text/csv" }), `seed-${drawn.seed}.csv`));
}

async function begin() {
  const { provider } = await call("open");
  $("provider").textContent = PROVIDERS[provider];
  $("loading").hidden = true;
  listen();
  await redraw();
  if ($("problem").hidden) for (const control of controls()) control.disabled = false;
}

begin().catch(fail);
