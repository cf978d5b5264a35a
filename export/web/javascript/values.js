/* The values that images of −1 and 1 stand for, and pictures of them: the numbers of ImageValues in export/sampler.py. */

import { SamplerError } from "./latents.js";

// A clamped array rounds halves to even, like numpy.
const ARRAYS = { uint8: Uint8ClampedArray, uint16: Uint16Array, float32: Float32Array };
const MOST = { uint8: 255, uint16: 65535 }; // the greatest value of integers
const EIGHT_BITS = { dtype: "uint8", levels: "[[0, 255]]", channel_names: "[]", unit: "" };

/** Return what a metadatum holds in JSON; throw SamplerError for other text. */
export function parsed(metadata, name) {
  try {
    return JSON.parse(metadata[name]);
  } catch {
    throw new SamplerError(`${name}=${metadata[name]}: expected JSON`);
  }
}

/** Return whether a pair is a low and a high value of a type. */
function areLevels(pair, dtype) {
  if (!Array.isArray(pair) || pair.length !== 2 || !pair.every(Number.isFinite) || pair[0] >= pair[1]) return false;
  return dtype === "float32" || (pair[0] >= 0 && pair[1] <= MOST[dtype]);
}

/**
 * Return what the metadata say of the values, {dtype, low, high, channelNames, unit, isEightBit}: low and high are those
 * of each channel, and isEightBit is true if they are 0 and 255 of 8 bits. Throws SamplerError for what no generator has.
 */
export function readValues(metadata, channels) {
  const stored = metadata.dtype === undefined ? EIGHT_BITS : metadata, { dtype, unit = "" } = stored;
  if (!Object.hasOwn(ARRAYS, dtype)) throw new SamplerError(`dtype=${dtype}: expected ${Object.keys(ARRAYS).join(", ")}`);
  const pairs = parsed(stored, "levels"), channelNames = parsed(stored, "channel_names");
  if (![1, channels].includes(pairs?.length) || !pairs.every((pair) => areLevels(pair, dtype))) {
    throw new SamplerError(`levels=${stored.levels}: expected low and high of ${dtype} for each of ${channels} channels`);
  }
  if (!Array.isArray(channelNames) || ![0, channels].includes(channelNames.length)) {
    throw new SamplerError(`channel_names=${stored.channel_names}: expected ${channels} names`);
  }
  const [low, high] = [0, 1].map((side) => Array.from({ length: channels }, (_, i) => pairs[i % pairs.length][side]));
  const isEightBit = dtype === "uint8" && pairs.every(([least, most]) => least === 0 && most === 255);
  return { dtype, low, high, channelNames: channelNames.map(String), unit, isEightBit };
}

/** Round to the nearest integer, halves to even. */
function rint(value) {
  const rounded = Math.round(value);
  return rounded - value === 0.5 && rounded % 2 ? rounded - 1 : rounded;
}

/** Return the function from a number in [−1, 1] to the value that it stands for in a channel. */
function valueIn(channel, { dtype, low, high, isEightBit }) {
  if (isEightBit) return (x) => Math.fround(Math.fround(x + 1) * 127.5);
  const least = low[channel], half = (high[channel] - least) / 2;
  const value = (x) => least + (Math.min(1, Math.max(-1, x)) + 1) * half;
  return dtype === "float32" ? value : (x) => rint(value(x));
}

/** Return floats [n · c · h · w] in [−1, 1] as values [n · h · w · c] in an array of their type. */
export function restore(floats, { count, height, width, channels }, values) {
  const area = height * width, restored = new ARRAYS[values.dtype](floats.length);
  for (let channel = 0; channel < channels; channel++) {
    const value = valueIn(channel, values);
    for (let image = 0; image < count; image++) {
      const plane = (image * channels + channel) * area;
      let to = image * channels * area + channel;
      for (let i = 0; i < area; i++, to += channels) restored[to] = value(floats[plane + i]);
    }
  }
  return restored;
}

/** Return a view {channels, low, high} of some channels: the values that become 0 and 255 are their whole levels. */
export function viewOf(channels, values) {
  return { channels, low: channels.map((i) => values.low[i]), high: channels.map((i) => values.high[i]) };
}

/** Return the channels that a picture shows by default: the first one or three, or four as RGBA. */
export function defaultChannels(count) {
  const shown = [1, 3, 4].includes(count) ? count : count < 3 ? 1 : 3;
  return Array.from({ length: shown }, (_, i) => i);
}

/** Return images of values as pictures: the channels of a view in 0…255, by default those that are shown everywhere. */
export function picture(images, values, view = viewOf(defaultChannels(images.channels), values)) {
  const pixels = images.count * images.height * images.width, shown = view.channels.length;
  const data = new Uint8ClampedArray(pixels * shown);
  view.channels.forEach((channel, position) => {
    const low = view.low[position], scale = 255 / (view.high[position] - low);
    for (let i = 0; i < pixels; i++) {
      data[i * shown + position] = (images.data[i * images.channels + channel] - low) * scale;
    }
  });
  return { ...images, channels: shown, data };
}
