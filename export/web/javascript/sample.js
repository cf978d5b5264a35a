/*
 * Samples from an ONNX file in Node.js:  node sample.js generator.onnx 16 0 grid.png sneaker
 * (file, count, seed, out, and the class by name or number, without which classes are drawn as in the training data)
 */

import { readFile, writeFile } from "node:fs/promises";
import ort from "onnxruntime-node";

import { png } from "./png.js";
import { csv, enlarged, grid, picture, Sampler, SamplerError } from "./sampler.js";

const [file, count = "16", seed = "0", given, label = null] = process.argv.slice(2);
if (!file) {
  console.error("usage: node sample.js generator.onnx [count] [seed] [grid.png, or points.csv of points] [class]");
  process.exit(2);
}
try {
  const sampler = await Sampler.open(ort, await readFile(file)), { makesPoints } = sampler;
  const out = given ?? (makesPoints ? "points.csv" : "grid.png"), suffix = makesPoints ? ".csv" : ".png";
  if (!out.toLowerCase().endsWith(suffix)) throw new SamplerError(`out=${out}: expected a file ending in ${suffix}`);
  const samples = await sampler.sample(count, seed, label);
  const drawing = () => png(enlarged(grid(picture(samples, sampler.values))));
  await writeFile(out, makesPoints ? csv(samples) : new Uint8Array(await (await drawing()).arrayBuffer()));
  console.log(`${samples.count} ${makesPoints ? "points" : "images"}: ${out}`);
} catch (error) {
  if (!(error instanceof SamplerError || error.syscall)) throw error; // a bug: keep the stack trace
  console.error(`error: ${error.message.replace(/\s+/g, " ")}`);
  process.exitCode = 2;
}
