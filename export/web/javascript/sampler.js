/* Samples images and points from ONNX files of `python -m export.onnx`, in a browser or Node.js: a port of export/sampler.py. */

import { classNumbers, drawnClasses, readClasses } from "./classes.js";
import { integer, knownDistribution, latents, SamplerError } from "./latents.js";
import { picture, readValues, restore } from "./values.js";

export { picture, SamplerError };

const PREFIX = "wgan_dist.";
const METADATA_FIELD = 14; // the field metadata_props of ModelProto in the ONNX format
const POINTS_LAYOUT = "nc";
const VALUE_RANGES = { nchw: "-1,1", nhwc: "0,255", [POINTS_LAYOUT]: "unbounded" }; // by the layout of the output
const BATCH_SIZE = 32;
const GAP = 2, MIN_WIDTH = 512; // between the images of a grid; of a picture that people look at

/** Yield the length-delimited fields of a protocol buffer as [number, bytes]. */
function* fields(bytes) {
  let position = 0;
  const varint = () => {
    let value = 0, scale = 1, byte;
    do {
      byte = bytes[position++];
      value += (byte & 127) * scale;
      scale *= 128;
    } while (byte & 128);
    return value;
  };
  while (position < bytes.length) {
    const tag = varint(), wireType = tag & 7;
    if (wireType === 0) varint();
    else if (wireType === 1 || wireType === 5) position += wireType === 1 ? 8 : 4;
    else if (wireType === 2) {
      const length = varint();
      yield [tag >>> 3, bytes.subarray(position, position + length)];
      position += length;
    } else throw new SamplerError("not an ONNX file");
  }
}

/** Return the height and width that a size such as 64 or 48x96 stands for. */
function imageSize(text) {
  if (!/^[1-9][0-9]*(x[1-9][0-9]*)?$/.test(text)) throw new SamplerError(`image_size=${text}: expected a size, as 48x96`);
  const sides = text.split("x");
  return [Number(sides[0]), Number(sides.at(-1))];
}

/** Return the metadata of an ONNX file as text by name. onnxruntime does not provide it in JavaScript. */
export function readMetadata(bytes) {
  const text = new TextDecoder(), metadata = {};
  for (const [number, content] of fields(bytes)) {
    if (number !== METADATA_FIELD) continue;
    const { 1: name = [], 2: value = [] } = Object.fromEntries(fields(content));
    const key = text.decode(Uint8Array.from(name));
    if (key.startsWith(PREFIX)) metadata[key.slice(PREFIX.length)] = text.decode(Uint8Array.from(value));
  }
  if (!metadata.latent_dim) throw new SamplerError("not a generator written by export.onnx");
  for (const name of ["latent_dim", "channels"]) integer(name, metadata[name], 1n);
  imageSize(metadata.image_size);
  knownDistribution(metadata.latent_distribution);
  return metadata;
}

/** Throw SamplerError if the metadata, where they say so, describe samples in another format than the output's. */
export function checkFormat(metadata, layout) {
  const expected = { layout, value_range: VALUE_RANGES[layout] };
  for (const name of Object.keys(expected)) {
    if ((metadata[name] ?? expected[name]) === expected[name]) continue;
    throw new SamplerError(`${name}=${metadata[name]}: expected ${expected[name]} for this output`);
  }
}

/**
 * A generator ready to sample. Images are {count, height, width, channels, data}: `data` [n · h · w · c] has the values of
 * the data that were trained on, which `values` describes. `picture(images, sampler.values)` makes pictures of them in
 * 0…255, which span the levels and show the first one or three channels of those that are not grey, RGB or RGBA. Points
 * are {count, dimensions, data}, data a Float32Array [n · dimensions]. `classes` are the names of the classes, none without
 * classes; a label is a name, or a number from 0.
 */
export class Sampler {
  constructor(ort, session, metadata) {
    this.ort = ort;
    this.session = session;
    this.metadata = metadata;
    this.latentDim = Number(metadata.latent_dim);
    this.distribution = metadata.latent_distribution;
    [this.height, this.width] = imageSize(metadata.image_size);
    this.channels = Number(metadata.channels);
    this.makesPoints = metadata.layout === POINTS_LAYOUT;
    this.values = this.makesPoints ? null : readValues(metadata, this.channels);
    ({ names: this.classes, shares: this.classShares } = readClasses(metadata));
  }

  /** Open a file: `ort` is onnxruntime-web or onnxruntime-node, `bytes` the content, `options` the session options. */
  static async open(ort, bytes, options = {}) {
    const metadata = readMetadata(bytes);
    const session = await ort.InferenceSession.create(bytes, options).catch((error) => {
      throw new SamplerError(`onnxruntime cannot load it: ${error.message}`);
    });
    const sampler = new Sampler(ort, session, metadata), inputs = session.inputNames.join(", ");
    if (inputs !== (sampler.classes.length ? "z, label" : "z")) throw new SamplerError(`its inputs are ${inputs}`);
    return sampler;
  }

  latents(count, seed = 0) {
    return latents(count, this.latentDim, this.distribution, seed);
  }

  /** Return the numbers of the classes of samples of a seed: those of a label, else drawn; null without classes. */
  labels(count, seed = 0, label = null) {
    const size = Number(integer("count", count, 1));
    if (label !== null) return classNumbers(label, size, this.classes);
    return this.classes.length ? drawnClasses(size, this.classShares, seed) : null;
  }

  /** Return the output of the graph for latent vectors z and their label, of `size` finite values for each. */
  async output(z, size, label) {
    const count = z.length / this.latentDim;
    const inputs = { z: new this.ort.Tensor("float32", z, [count, this.latentDim]) };
    if (label !== null || this.classes.length) {
      const numbers = BigInt64Array.from(classNumbers(label, count, this.classes), BigInt);
      inputs.label = new this.ort.Tensor("int64", numbers, [count]);
    }
    const { data } = (await this.session.run(inputs))[this.session.outputNames[0]];
    if (data.length !== count * size) throw new SamplerError("the output has an unexpected shape");
    if (!data.every(Number.isFinite)) throw new SamplerError("the samples have values that are not finite");
    return data;
  }

  /** Return the points of latent vectors z, a Float32Array [n · latentDim], as one batch. */
  async points(z) {
    if (!this.makesPoints) throw new SamplerError("this generator makes images; expected a generator of points");
    checkFormat(this.metadata, POINTS_LAYOUT);
    return { count: z.length / this.latentDim, dimensions: this.channels, data: await this.output(z, this.channels, null) };
  }

  /**
   * Return the images of latent vectors z, a Float32Array [n · latentDim], as one batch. A generator with classes needs
   * a label for all of them, or an array with one for each.
   */
  async images(z, label = null) {
    if (this.makesPoints) throw new SamplerError("this generator makes points; expected a generator of images");
    const count = z.length / this.latentDim, { height, width, channels } = this;
    const data = await this.output(z, height * width * channels, label), isUint8 = data instanceof Uint8Array;
    checkFormat(this.metadata, isUint8 ? "nhwc" : "nchw");
    const images = { count, height, width, channels };
    return { ...images, data: isUint8 ? new Uint8ClampedArray(data) : restore(data, images, this.values) };
  }

  /**
   * Return `count` images or points. A seed gives the same everywhere, and the first k of them for any count. With
   * classes, `label` is that of all images or an array with one for each; null draws classes by their shares in the
   * training data.
   */
  async sample(count, seed = 0, label = null) {
    const z = this.latents(count, seed), labels = this.labels(count, seed, label), size = this.latentDim, parts = [];
    for (let start = 0; start * size < z.length; start += BATCH_SIZE) {
      const end = start + BATCH_SIZE, part = z.slice(start * size, end * size);
      parts.push(await (this.makesPoints ? this.points(part) : this.images(part, labels && labels.slice(start, end))));
    }
    return joined(parts);
  }
}

/** Join several batches of images or points into one. */
export function joined(parts) {
  const data = new parts[0].data.constructor(parts.reduce((sum, part) => sum + part.data.length, 0));
  let position = 0;
  for (const part of parts) {
    data.set(part.data, position);
    position += part.data.length;
  }
  return { ...parts[0], count: parts.reduce((sum, part) => sum + part.count, 0), data };
}

/** Return points as CSV, a row for each and a column for each dimension, as export/sampler.py writes them. */
export function csv({ count, dimensions, data }) {
  const row = (i) => Array.from(data.subarray(i * dimensions, (i + 1) * dimensions), (x) => Number(x.toPrecision(9))).join(",");
  return Array.from({ length: count }, (_, i) => `${row(i)}\n`).join("");
}

/** Return image number i as a batch of one. */
export function one(images, i) {
  const size = images.height * images.width * images.channels;
  return { ...images, count: 1, data: images.data.slice(i * size, (i + 1) * size) };
}

/** Repeat each pixel of a picture (a batch of one) so that it is at least 512 pixels wide, like export/sampler.py. */
export function enlarged(picture) {
  const { height, width, channels, data } = picture, scale = Math.ceil(MIN_WIDTH / width);
  const larger = { count: 1, height: scale * height, width: scale * width, channels };
  const pixels = new Uint8ClampedArray(larger.height * larger.width * channels);
  for (let position = 0; position < pixels.length; position++) {
    const pixel = Math.floor(position / channels), row = Math.floor(pixel / larger.width);
    const source = Math.floor(row / scale) * width + Math.floor((pixel % larger.width) / scale);
    pixels[position] = data[source * channels + (position % channels)];
  }
  return { ...larger, data: pixels };
}

/** Arrange pictures in one picture, 2 black pixels apart and about square, like the grid of export/sampler.py. */
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
