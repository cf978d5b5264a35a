/* Latent vectors of a seed: those that export/sampler.py draws, number for number. */

const STREAM = "sample.z";
const WORD = (1n << 64n) - 1n;
const ROUNDS = 10;

/** A file or an argument that cannot be used; the message says what is accepted. */
export class SamplerError extends Error {}

/** `value` as a BigInt; throws SamplerError unless it is, or is the decimal text of, a whole number from `least` on. */
function wholeNumber(name, value, least) {
  if (/^[0-9]+$/.test(value) && BigInt(value) >= least) return BigInt(value);
  throw new SamplerError(`${name}=${value}: expected a whole number of at least ${least}`);
}

const rotate = (word, count) => (word >>> count) | (word << (32 - count));

/** The first `count` primes. */
function primes(count) {
  const found = [];
  for (let number = 2; found.length < count; number++) {
    if (found.every((prime) => number % prime)) found.push(number);
  }
  return found;
}

/** The first 32 bits after the point of a root, as FIPS 180-4 takes its constants. */
const fraction = (root) => Math.floor((root - Math.floor(root)) * 2 ** 32) | 0;

const ROUND_CONSTANTS = primes(64).map((prime) => fraction(Math.cbrt(prime)));
const INITIAL_STATE = primes(8).map((prime) => fraction(Math.sqrt(prime)));

/** The message with its one bit, zeros and length (FIPS 180-4, 5.1.1). */
function padded(message) {
  const bytes = new Uint8Array(Math.ceil((message.length + 9) / 64) * 64);
  bytes.set(message);
  bytes[message.length] = 0x80;
  new DataView(bytes.buffer).setBigUint64(bytes.length - 8, BigInt(message.length) * 8n);
  return bytes;
}

function schedule(block) {
  const words = new Int32Array(64);
  for (let i = 0; i < 16; i++) words[i] = block.getInt32(4 * i);
  for (let i = 16; i < 64; i++) {
    const early = words[i - 15], late = words[i - 2];
    const s0 = rotate(early, 7) ^ rotate(early, 18) ^ (early >>> 3);
    const s1 = rotate(late, 17) ^ rotate(late, 19) ^ (late >>> 10);
    words[i] = words[i - 16] + s0 + words[i - 7] + s1;
  }
  return words;
}

function compress(state, words) {
  let [a, b, c, d, e, f, g, h] = state;
  for (let i = 0; i < 64; i++) {
    const s1 = rotate(e, 6) ^ rotate(e, 11) ^ rotate(e, 25);
    const first = (h + s1 + ((e & f) ^ (~e & g)) + ROUND_CONSTANTS[i] + words[i]) | 0;
    const s0 = rotate(a, 2) ^ rotate(a, 13) ^ rotate(a, 22);
    const second = (s0 + ((a & b) ^ (a & c) ^ (b & c))) | 0;
    [h, g, f, e, d, c, b, a] = [g, f, e, (d + first) | 0, c, b, a, (first + second) | 0];
  }
  return [a, b, c, d, e, f, g, h].map((word, i) => (word + state[i]) | 0);
}

/** SHA-256 of bytes as a DataView of 32. Written out: pages over plain http are given no crypto.subtle. */
export function sha256(message) {
  const bytes = padded(message);
  let state = INITIAL_STATE;
  for (let start = 0; start < bytes.length; start += 64) {
    state = compress(state, schedule(new DataView(bytes.buffer, start, 64)));
  }
  const digest = new DataView(new ArrayBuffer(32));
  state.forEach((word, i) => digest.setInt32(4 * i, word));
  return digest;
}

/** The four words of a counter under a key: Philox 4x64-10 (Salmon et al. 2011). */
function philox(counter, key) {
  let [a, b, c, d] = [BigInt(counter), 0n, 0n, 0n];
  let [left, right] = key;
  for (let round = 0; round < ROUNDS; round++) {
    const first = a * 0xd2e7470ee14c6c93n, second = c * 0xca5a826395121157n;
    [a, b, c, d] = [(second >> 64n) ^ b ^ left, second & WORD, (first >> 64n) ^ d ^ right, first & WORD];
    left = (left + 0x9e3779b97f4a7c15n) & WORD;
    right = (right + 0xbb67ae8584caa73bn) & WORD;
  }
  return [a, b, c, d];
}

/** `count` draws from U[0, 1) of a seed, as doubles of 53 bits. */
function uniforms(count, seed) {
  const digest = sha256(new TextEncoder().encode(`${seed}/${STREAM}/0`));
  const key = [digest.getBigUint64(0, true), digest.getBigUint64(8, true)];
  const unit = new Float64Array(count);
  for (let start = 0; start < count; start += 4) {
    // numpy counts up before it draws.
    const words = philox(start / 4 + 1, key);
    for (let i = 0; i < 4 && start + i < count; i++) unit[start + i] = Number(words[i] >> 11n) * 2 ** -53;
  }
  return unit;
}

/**
 * Latent vectors z as a Float32Array [count · latentDim]: "normal", N(0, 1) by Box and Muller 1958, or "uniform",
 * U[−1, 1). The first k of a seed are the same whatever the count. `count`, at least 1, and `seed`, at least 0, are
 * whole numbers, as a number, BigInt or decimal text; throws SamplerError for others.
 */
export function latents(count, latentDim, distribution = "normal", seed = 0) {
  const size = Number(wholeNumber("count", count, 1)) * latentDim;
  const unit = uniforms(size + (size % 2), wholeNumber("seed", seed, 0));
  if (distribution === "uniform") return Float32Array.from(unit.subarray(0, size), (each) => 2 * each - 1);
  const z = new Float64Array(unit.length);
  for (let i = 0; i < unit.length; i += 2) {
    const radius = Math.sqrt(-2 * Math.log1p(-unit[i])), angle = 2 * Math.PI * unit[i + 1];
    z[i] = radius * Math.cos(angle);
    z[i + 1] = radius * Math.sin(angle);
  }
  return Float32Array.from(z.subarray(0, size));
}

const dot = (a, b) => a.reduce((sum, each, i) => sum + each * b[i], 0);

/**
 * The latent vector at `share` of the way from start to end, as `python -m wgan_dist.sample --interpolate` goes: along
 * the great circle for normal latents (White 2016), straight for uniform ones.
 */
export function between(start, end, share, distribution) {
  const cosine = dot(start, end) / Math.sqrt(dot(start, start) * dot(end, end));
  const angle = Math.acos(Math.min(1, Math.max(-1, cosine)));
  const straight = distribution === "uniform" || Math.sin(angle) < 1e-8;
  const from = straight ? 1 - share : Math.sin((1 - share) * angle) / Math.sin(angle);
  const to = straight ? share : Math.sin(share * angle) / Math.sin(angle);
  return start.map((each, i) => from * each + to * end[i]);
}

/** A number of any size reflected at −1 and 1 until it lies between. */
const folded = (number) => Math.abs(((((number - 1) % 4) + 4) % 4) - 2) - 1;

/**
 * The latent vector that lies `a` and `b`, both in [−1, 1], from z in the directions of two further latents.
 *
 * What it gives is distributed as latents are, so that images stay typical: normal ones turn by up to a quarter circle
 * (cos² + sin² = 1), uniform ones are moved by up to the width of their cube and reflected at its walls.
 */
export function moved(z, directions, a, b, distribution) {
  const [first, second] = directions;
  if (distribution === "uniform") return z.map((each, i) => folded(each + 2 * (a * first[i] + b * second[i])));
  const turn = (from, to, share) => {
    const angle = (share * Math.PI) / 2;
    return from.map((each, i) => Math.cos(angle) * each + Math.sin(angle) * to[i]);
  };
  return turn(turn(z, first, a), second, b);
}
