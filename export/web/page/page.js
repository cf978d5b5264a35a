/* The page: passes the values of its controls to the worker, and shows the images. */

import { $, call, controls, fail, latest, saveFile, seedOf } from "./calls.js";
import { display } from "./display.js";
import { between, latents, moved } from "./latents.js";
import { png } from "./png.js";
import { enlarged, grid, joined, one, picture } from "./sampler.js";

const BATCH_SIZE = 4; // small, so that images appear one after another and a new seed can start soon
const DIRECTIONS_SEED = 1234; // arbitrary: the two directions are two latents of this seed
const SEEDS = 1_000_000; // the random seeds are below this; the visitor may type any number
const CROSSING_MILLISECONDS = 4000; // from one seed to the other
const SMALL = 128; // images up to this size are enlarged with sharp pixels, larger ones smoothly
const PROVIDERS = { wasm: "your processor (WebAssembly)", webgpu: "your graphics card (WebGPU)" };

const painted = new WeakMap(); // the images by their canvases
let network, view, requested, drawn, chosen = 0;

/** Return the number of the class that the visitor has chosen; null draws classes, or there are none. */
const chosenLabel = () => ($("label")?.value ? Number($("label").value) : null);

/** Return in words the class of image number i of the grid, after a separator; nothing without classes. */
const className = (i) => (drawn.labels ? `: ${network.classes[drawn.labels[i]]}` : "");

/** Return images as the visitor sees them: the chosen channels between the chosen values. */
const visible = (images) => picture(images, network.values, view());

/** Convert a picture with any number of channels to the RGBA pixels of a canvas. */
function rgba({ width, height, channels, data }) {
  const pixels = new ImageData(width, height), grey = channels < 3, opaque = channels < 4;
  for (let from = 0, to = 0; to < pixels.data.length; from += channels, to += 4) {
    pixels.data[to] = data[from];
    pixels.data[to + 1] = data[grey ? from : from + 1];
    pixels.data[to + 2] = data[grey ? from : from + 2];
    pixels.data[to + 3] = opaque ? 255 : data[from + channels - 1];
  }
  return pixels;
}

function paint(canvas, image) {
  painted.set(canvas, image);
  canvas.width = image.width;
  canvas.height = image.height;
  canvas.classList.toggle("sharp", image.width <= SMALL);
  canvas.getContext("2d").putImageData(rgba(visible(image)), 0, 0);
}

function repaint() {
  for (const canvas of document.querySelectorAll("canvas")) if (painted.has(canvas)) paint(canvas, painted.get(canvas));
}

const save = async (image, name) => saveFile(await png(image), name);

/* The grid. */

/** Return an empty cell of the grid: a radio button, so that arrow keys move from image to image. */
function cell(number) {
  const label = document.createElement("label"), input = document.createElement("input");
  Object.assign(input, { type: "radio", name: "image", value: number, checked: number === chosen });
  input.addEventListener("change", () => choose(number));
  label.append(input, document.createElement("canvas"));
  return label;
}

function layOut(count) {
  $("grid").style.setProperty("--columns", Math.round(Math.sqrt(count)));
  const cells = $("grid").querySelectorAll("label");
  if (cells.length === count) return;
  if (chosen >= count) chosen = 0;
  $("grid").disabled = true; // until there are images to choose from
  for (const old of cells) old.remove();
  $("grid").append(...Array.from({ length: count }, (_, number) => cell(number)));
  nameCells((number) => `Image ${number + 1} of ${count}`);
}

function nameCells(nameOf) {
  $("grid").querySelectorAll("input").forEach((input, number) => input.setAttribute("aria-label", nameOf(number)));
}

function choose(number) {
  chosen = number;
  $("explored-name").textContent = `Image ${number + 1} of seed ${drawn.seed}${className(number)}`;
  for (const id of ["a", "b"]) $(id).value = 0;
  showExplored();
}

function showTime(milliseconds, count) {
  const perImage = milliseconds / count, time = `${perImage.toFixed(perImage < 10 ? 1 : 0)} ms`;
  $("time").textContent = time;
  $("status").textContent = `${count} ${count === 1 ? "image" : "images"} of seed ${drawn.seed}, ${time} each`;
}

/** Write what a program needs to draw the same images, and an address that shows them. */
function showOrigin(seed, count, label) {
  const name = label === null ? {} : { label: network.classes[label] };
  $("code-seed").textContent = seed;
  $("code-count").textContent = count;
  $("code-label").textContent = label === null ? "" : `, label=${JSON.stringify(name.label)}`;
  history.replaceState(null, "", `#${new URLSearchParams({ seed, count, ...name })}`);
}

const draw = latest(async (seed, count, label) => {
  layOut(count);
  $("grid").setAttribute("aria-busy", "true");
  $("status").textContent = `Generating the images of seed ${seed}…`;
  const z = await call("latents", count, seed), labels = await call("labels", count, seed, label);
  const size = network.latentDim, parts = [];
  const canvases = $("grid").querySelectorAll("canvas");
  let milliseconds = 0, shown = 0;
  for (let start = 0; start < count; start += BATCH_SIZE) {
    const end = start + BATCH_SIZE;
    const result = await call("images", z.slice(start * size, end * size), labels && labels.slice(start, end));
    milliseconds += result.milliseconds;
    parts.push(result.images);
    for (let i = 0; i < result.images.count; i++) paint(canvases[shown++], one(result.images, i));
    if (requested !== `${seed} ${count} ${label}`) return; // the visitor has requested others meanwhile
  }
  drawn = { seed, z, labels, images: joined(parts) };
  nameCells((number) => `Image ${number + 1} of ${count}${className(number)}`);
  $("grid").disabled = false;
  $("grid").removeAttribute("aria-busy");
  showOrigin(seed, count, label);
  $("icon").href = canvases[0].toDataURL();
  choose(chosen);
  showTime(milliseconds, count);
});

async function redraw() {
  const seed = seedOf("seed"), count = Number($("count").value), label = chosenLabel();
  if (seed === null) return;
  requested = `${seed} ${count} ${label}`;
  await draw(seed, count, label);
}

/* One image. */

let explored, directions;

const showExplored = latest(async () => {
  const [a, b] = ["a", "b"].map((id) => Number($(id).value) / 100);
  for (const id of ["a", "b"]) $(`${id}-shown`).textContent = $(id).value;
  const size = network.latentDim, z = drawn.z.slice(chosen * size, (chosen + 1) * size);
  if (a === 0 && b === 0) explored = one(drawn.images, chosen);
  else {
    const labels = drawn.labels && [drawn.labels[chosen]];
    explored = (await call("images", moved(z, directions, a, b, network.distribution), labels)).images;
  }
  paint($("explored"), explored);
});

/* Between two seeds. */

let ends, endLabels, blended, playing = false;

const showBlended = latest(async () => {
  const share = Number($("share").value) / 100;
  $("share-shown").textContent = `${Math.round(share * 100)} %`;
  const z = between(...ends, share, network.distribution);
  blended = (await call("images", z, endLabels)).images;
  paint($("blended"), blended);
});

async function chooseEnds() {
  const seeds = [seedOf("from"), seedOf("to")];
  if (seeds.includes(null)) return;
  endLabels = await call("labels", 1, seeds[0], chosenLabel()); // one class all the way, that of the first seed
  ends = seeds.map((seed) => latents(1, network.latentDim, network.distribution, seed));
  await showBlended();
}

function stop() {
  playing = false;
  $("play").textContent = "Play";
  $("play").setAttribute("aria-pressed", "false");
}

async function play() {
  playing = true;
  $("play").textContent = "Stop";
  $("play").setAttribute("aria-pressed", "true");
  const started = performance.now() - (Number($("share").value) / 100) * CROSSING_MILLISECONDS;
  while (playing) {
    const crossings = (await new Promise(requestAnimationFrame) - started) / CROSSING_MILLISECONDS;
    const phase = ((crossings % 2) + 2) % 2;
    $("share").value = 100 * (phase < 1 ? phase : 2 - phase); // to the second seed and back
    await showBlended();
  }
}

/* Controls. */

function listen() {
  $("new").addEventListener("click", () => {
    $("seed").value = crypto.getRandomValues(new Uint32Array(1))[0] % SEEDS;
    redraw();
  });
  $("seed").addEventListener("change", redraw);
  $("count").addEventListener("change", redraw);
  $("label")?.addEventListener("change", () => { redraw(); chooseEnds(); });
  for (const id of ["draw-form", "between-form"]) $(id).addEventListener("submit", (event) => event.preventDefault());
  $("save-grid").addEventListener("click", () => save(enlarged(grid(visible(drawn.images))), `seed-${drawn.seed}.png`));
  for (const id of ["a", "b"]) $(id).addEventListener("input", showExplored);
  $("reset").addEventListener("click", () => choose(chosen));
  $("save-one").addEventListener("click", () => save(visible(explored), `seed-${drawn.seed}-image-${chosen + 1}.png`));
  for (const id of ["from", "to"]) $(id).addEventListener("change", chooseEnds);
  $("share").addEventListener("input", () => { stop(); showBlended(); });
  $("play").addEventListener("click", () => (playing ? stop() : play()));
  $("save-between").addEventListener("click", () => {
    const share = $("share-shown").textContent.replace(" %", "");
    save(visible(blended), `seed-${$("from").value}-to-${$("to").value}-at-${share}.png`);
  });
  addEventListener("hashchange", () => { readAddress(); redraw(); chooseEnds(); });
}

/** Read seed, count and class from the address, as in #seed=7&count=16, so that a link shows the same images. */
function readAddress() {
  const parameters = new URLSearchParams(location.hash.slice(1));
  if (/^[0-9]{1,40}$/.test(parameters.get("seed") ?? "")) $("seed").value = parameters.get("seed");
  const count = parameters.get("count");
  if ([...$("count").options].some((option) => option.value === count)) $("count").value = count;
  const option = [...($("label")?.options ?? [])].find(({ value, text }) => value && text === parameters.get("label"));
  if ($("label")) $("label").value = option?.value ?? "";
}

/** Give the pictures the shape of the images, which the page says as HEIGHTxWIDTH. */
function setShape() {
  const [height, width] = document.querySelector("main").dataset.imageSize.split("x");
  document.documentElement.style.setProperty("--aspect", `${width} / ${height}`);
}

async function begin() {
  setShape();
  readAddress();
  layOut(Number($("count").value));
  network = await call("open");
  view = display(network.values, repaint);
  $("provider").textContent = PROVIDERS[network.provider];
  $("loading").hidden = true;
  const size = network.latentDim, both = latents(2, size, network.distribution, DIRECTIONS_SEED);
  directions = [both.slice(0, size), both.slice(size)];
  listen();
  await redraw();
  await chooseEnds();
  if ($("problem").hidden) for (const control of controls()) control.disabled = false;
}

begin().catch(fail);
