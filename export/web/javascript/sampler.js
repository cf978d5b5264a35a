/* Generator files written by `python -m export.onnx`, in a browser or in Node.js: a port of export/sampler.py. */

import { latents, SamplerError } from "./latents.js";

export { SamplerError };

const PREFIX = "wgan_dist.";
const METADATA_FIELD = 14; // metadata_props of ONNX's ModelProto
const POINTS_LAYOUT = "nc";
const BATCH_SIZE = 32;
const GAP = 2;

/** The length-delimited fields of a protocol buffer, as [number, bytes]. */
function* fields(bytes) {
  let at = 0;
  const varint = () => {
    let value = 0, scale = 1, byte;
    do {
      byte = bytes[at++];
      value += (byte & 127) * scale;
      scale *= 128;
    } while (byte & 128);
    return value;
  };
  while (at < bytes.length) {
    const tag = varint(), kind = tag & 7;
    if (kind === 0) varint();
    else if (kind === 1 || kind === 5) at += kind === 1 ? 8 : 4;
    else if (kind === 2) {
      const length = varint();
      yield [tag >>> 3, bytes.subarray(at, at + length)];
      at += length;
    } else throw new SamplerError("not an ONNX file");
  }
}

/** What a generator file says about itself, as texts by name; onnxruntime does not hand it out in JavaScript. */
export function readMetadata(bytes) {
  const text = new TextDecoder(), found = {};
  for (const [number, content] of fields(bytes)) {
    if (number !== METADATA_FIELD) continue;
    const { 1: name = [], 2: value = [] } = Object.fromEntries(fields(content));
    const key = text.decode(Uint8Array.from(name));
    if (key.startsWith(PREFIX)) found[key.slice(PREFIX.length)] = text.decode(Uint8Array.from(value));
  }
  if (!found.latent_dim) throw new SamplerError("not a generator written by export.onnx");
  if (found.layout === POINTS_LAYOUT) throw new SamplerError("this generator makes points; expected one of images");
  return found;
}

/** Floats [n, c, h, w] in [−1, 1] → levels [n, h, w, c] in 0…255, rounded to nearest in the steps of export.sampler. */
function toLevels(floats, { count, height, width, channels }) {
  // A clamped array rounds halves to even, as numpy does.
  const levels = new Uint8ClampedArray(floats.length), area = height * width;
  for (let image = 0; image < count; image++) {
    for (let channel = 0; channel < channels; channel++) {
      const plane = (image * channels + channel) * area;
      let to = image * channels * area + channel;
      for (let i = 0; i < area; i++, to += channels) {
        levels[to] = Math.fround(Math.fround(floats[plane + i] + 1) * 127.5);
      }
    }
  }
  return levels;
}

/** A generator ready to draw. Images are {count, height, width, channels, data}, data [n · h · w · c] in 0…255. */
export class Sampler {
  constructor(ort, session, metadata) {
    this.ort = ort;
    this.session = session;
    this.metadata = metadata;
    this.latentDim = Number(metadata.latent_dim);
    this.distribution = metadata.latent_distribution;
    this.imageSize = Number(metadata.image_size);
    this.channels = Number(metadata.channels);
  }

  /** `ort` is onnxruntime-web or onnxruntime-node, `bytes` the file's content, `options` those of its session. */
  static async open(ort, bytes, options = {}) {
    const metadata = readMetadata(bytes);
    const session = await ort.InferenceSession.create(bytes, options).catch((error) => {
      throw new SamplerError(`onnxruntime cannot load it: ${error.message}`);
    });
    return new Sampler(ort, session, metadata);
  }

  latents(count, seed = 0) {
    return latents(count, this.latentDim, this.distribution, seed);
  }

  /** The images of the latent vectors z, a Float32Array [n · latentDim], in one batch. */
  async images(z) {
    const count = z.length / this.latentDim, size = this.imageSize;
    const input = new this.ort.Tensor("float32", z, [count, this.latentDim]);
    const { data } = (await this.session.run({ z: input }))[this.session.outputNames[0]];
    const images = { count, height: size, width: size, channels: this.channels };
    if (data.length !== count * size * size * this.channels) throw new SamplerError("the graph gave another shape");
    return { ...images, data: data instanceof Uint8Array ? new Uint8ClampedArray(data) : toLevels(data, images) };
  }

  /** `count` images of a seed: the same ones everywhere, and the first k for any count. */
  async sample(count, seed = 0) {
    const z = this.latents(count, seed), step = BATCH_SIZE * this.latentDim, parts = [];
    for (let start = 0; start < z.length; start += step) parts.push(await this.images(z.slice(start, start + step)));
    return joined(parts);
  }
}

/** Several batches of images as one. */
export function joined(parts) {
  const data = new Uint8ClampedArray(parts.reduce((sum, part) => sum + part.data.length, 0));
  let at = 0;
  for (const part of parts) {
    data.set(part.data, at);
    at += part.data.length;
  }
  return { ...parts[0], count: parts.reduce((sum, part) => sum + part.count, 0), data };
}

/** Image number i of several, alone. */
export function one(images, i) {
  const size = images.height * images.width * images.channels;
  return { ...images, count: 1, data: images.data.slice(i * size, (i + 1) * size) };
}

/** Images side by side in one picture, 2 dark pixels apart and about square, as export.sampler's grid. */
export function grid(images) {
  const { count, height, width, channels, data } = images;
  const columns = Math.round(Math.sqrt(count)) || 1, rows = Math.ceil(count / columns);
  const picture = { count: 1, height: rows * (height + GAP) - GAP, width: columns * (width + GAP) - GAP, channels };
  const pixels = new Uint8ClampedArray(picture.height * picture.width * channels), stride = width * channels;
  for (let row = 0; row < count * height; row++) {
    const image = Math.floor(row / height);
    const top = Math.floor(image / columns) * (height + GAP) + (row % height), left = (image % columns) * (width + GAP);
    pixels.set(data.subarray(row * stride, (row + 1) * stride), (top * picture.width + left) * channels);
  }
  return { ...picture, data: pixels };
}
