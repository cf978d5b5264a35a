/* Samples images from an ONNX file in Node.js:  node sample.js generator.onnx 16 0 grid.png  (file, count, seed, out) */

import { readFile, writeFile } from "node:fs/promises";
import ort from "onnxruntime-node";

import { png } from "./png.js";
import { enlarged, grid, picture, Sampler, SamplerError } from "./sampler.js";

const [file, count = "16", seed = "0", out = "grid.png"] = process.argv.slice(2);
if (!file) {
  console.error("usage: node sample.js generator.onnx [count] [seed] [grid.png]");
  process.exit(2);
}
try {
  if (!out.toLowerCase().endsWith(".png")) throw new SamplerError(`out=${out}: expected a file ending in .png`);
  const sampler = await Sampler.open(ort, await readFile(file));
  const images = await sampler.sample(count, seed);
  const blob = await png(enlarged(grid(picture(images, sampler.values))));
  await writeFile(out, new Uint8Array(await blob.arrayBuffer()));
  console.log(`${images.count} images: ${out}`);
} catch (error) {
  if (!(error instanceof SamplerError || error.syscall)) throw error; // a bug: keep the stack trace
  console.error(`error: ${error.message.replace(/\s+/g, " ")}`);
  process.exitCode = 2;
}
