/* Computes the random numbers and latent vectors of a seed: the same numbers as export/sampler.py. */

const STREAM = "sample.z";
const WORD = (1n << 64n) - 1n;
const ROUNDS = 10;

/** A file or an argument cannot be used; the message says what is accepted. */
export class SamplerError extends Error {}

/** Convert a number or decimal text to a BigInt; throw SamplerError unless it is an integer of at least `minimum`. */
export function integer(name, value, minimum) {
  if (/^[0-9]+$/.test(value) && BigInt(value) >= minimum) return BigInt(value);
  throw new SamplerError(`${name}=${value}: expected a whole number of at least ${minimum}`);
}

/** Return the name of a distribution of latents; throw SamplerError for an unknown one. */
export function knownDistribution(name) {
  if (name === "normal" || name === "uniform") return name;
  throw new SamplerError(`latent_distribution=${name}: expected normal or uniform`);
}

const rotate = (word, count) => (word >>> count) | (word << (32 - count));

/** Return the first `count` primes. */
function primes(count) {
  const list = [];
  for (let number = 2; list.length < count; number++) {
    if (list.every((prime) => number % prime)) list.push(number);
  }
  return list;
}

/** Return the first 32 bits of the fractional part of a root, from which FIPS 180-4 derives its constants. */
const fraction = (root) => Math.floor((root - Math.floor(root)) * 2 ** 32) | 0;

const ROUND_CONSTANTS = primes(64).map((prime) => fraction(Math.cbrt(prime)));
const INITIAL_STATE = primes(8).map((prime) => fraction(Math.sqrt(prime)));

/** Append the one bit, the zeros and the length to a message (FIPS 180-4, 5.1.1). */
function padded(message) {
  const bytes = new Uint8Array(Math.ceil((message.length + 9) / 64) * 64);
  bytes.set(message);
  bytes[message.length] = 0x80;
  new DataView(bytes.buffer).setBigUint64(bytes.length - 8, BigInt(message.length) * 8n);
  return bytes;
}

/** Expand a block to 64 words (FIPS 180-4, 6.2.2, step 1). */
function schedule(block) {
  const words = new Int32Array(64);
  for (let i = 0; i < 16; i++) words[i] = block.getInt32(4 * i);
  for (let i = 16; i < 64; i++) {
    const w15 = words[i - 15], w2 = words[i - 2];
    const s0 = rotate(w15, 7) ^ rotate(w15, 18) ^ (w15 >>> 3);
    const s1 = rotate(w2, 17) ^ rotate(w2, 19) ^ (w2 >>> 10);
    words[i] = words[i - 16] + s0 + words[i - 7] + s1;
  }
  return words;
}

/** Update the hash with the words of a block (FIPS 180-4, 6.2.2, steps 2 to 4). */
function compress(state, words) {
  let [a, b, c, d, e, f, g, h] = state;
  for (let i = 0; i < 64; i++) {
    const s1 = rotate(e, 6) ^ rotate(e, 11) ^ rotate(e, 25);
    const t1 = (h + s1 + ((e & f) ^ (~e & g)) + ROUND_CONSTANTS[i] + words[i]) | 0;
    const s0 = rotate(a, 2) ^ rotate(a, 13) ^ rotate(a, 22);
    const t2 = (s0 + ((a & b) ^ (a & c) ^ (b & c))) | 0;
    [h, g, f, e, d, c, b, a] = [g, f, e, (d + t1) | 0, c, b, a, (t1 + t2) | 0];
  }
  return [a, b, c, d, e, f, g, h].map((word, i) => (word + state[i]) | 0);
}

/** Return the SHA-256 of bytes as a DataView of 32 bytes. crypto.subtle is not available to pages over plain http. */
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

/** Return the four words of a counter under a key: Philox 4x64-10 (Salmon et al. 2011). */
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

/** Return `count` numbers from U[0, 1) of a stream of a seed, as doubles of 53 bits. */
export function uniforms(count, seed, stream) {
  const digest = sha256(new TextEncoder().encode(`${seed}/${stream}/0`));
  const key = [digest.getBigUint64(0, true), digest.getBigUint64(8, true)];
  const unit = new Float64Array(count);
  for (let start = 0; start < count; start += 4) {
    // numpy increments the counter before it computes.
    const words = philox(start / 4 + 1, key);
    for (let i = 0; i < 4 && start + i < count; i++) unit[start + i] = Number(words[i] >> 11n) * 2 ** -53;
  }
  return unit;
}

/**
 * Return latent vectors z as a Float32Array [count · latentDim]: "normal", N(0, 1) by the transform of Box and Muller
 * (1958), or "uniform", U[−1, 1). The first k vectors of a seed are the same for any count. `count`, at least 1, and
 * `seed`, at least 0, are integers given as a number, BigInt or decimal text; throws SamplerError for other values.
 */
export function latents(count, latentDim, distribution = "normal", seed = 0) {
  knownDistribution(distribution);
  const size = Number(integer("count", count, 1)) * latentDim;
  const unit = uniforms(size + (size % 2), integer("seed", seed, 0), STREAM);
  if (distribution === "uniform") return Float32Array.from(unit.subarray(0, size), (u) => 2 * u - 1);
  const z = new Float64Array(unit.length);
  for (let i = 0; i < unit.length; i += 2) {
    const radius = Math.sqrt(-2 * Math.log1p(-unit[i])), angle = 2 * Math.PI * unit[i + 1];
    z[i] = radius * Math.cos(angle);
    z[i + 1] = radius * Math.sin(angle);
  }
  return Float32Array.from(z.subarray(0, size));
}

const dot = (a, b) => a.reduce((sum, value, i) => sum + value * b[i], 0);

/**
 * Interpolate between two latent vectors, `share` in [0, 1], like `python -m wgan_dist.sample --interpolate`: along the
 * great circle for normal latents (White 2016), linearly for uniform ones.
 */
export function between(start, end, share, distribution) {
  const cosine = dot(start, end) / Math.sqrt(dot(start, start) * dot(end, end));
  const angle = Math.acos(Math.min(1, Math.max(-1, cosine)));
  const straight = distribution === "uniform" || Math.sin(angle) < 1e-8;
  const from = straight ? 1 - share : Math.sin((1 - share) * angle) / Math.sin(angle);
  const to = straight ? share : Math.sin(share * angle) / Math.sin(angle);
  return start.map((value, i) => from * value + to * end[i]);
}

/** Reflect a number at −1 and 1 until it lies between them. */
const reflected = (number) => Math.abs(((((number - 1) % 4) + 4) % 4) - 2) - 1;

/**
 * Move the latent vector z by `a` and `b`, both in [−1, 1], in the directions of two other latent vectors.
 *
 * The result has the distribution of latents, so that images stay typical: normal latents rotate by up to a quarter
 * turn (cos² + sin² = 1), uniform latents move by up to the width of their cube and are reflected at its faces.
 */
export function moved(z, directions, a, b, distribution) {
  const [first, second] = directions;
  if (distribution === "uniform") return z.map((value, i) => reflected(value + 2 * (a * first[i] + b * second[i])));
  const rotated = (from, to, share) => {
    const angle = (share * Math.PI) / 2;
    return from.map((value, i) => Math.cos(angle) * value + Math.sin(angle) * to[i]);
  };
  return rotated(rotated(z, first, a), second, b);
}
