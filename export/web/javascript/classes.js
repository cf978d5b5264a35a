/* The classes of samples: their names, and the choice of one or of random ones by the rules of export/sampler.py. */

import { integer, SamplerError, uniforms } from "./latents.js";
import { parsed } from "./values.js";

const STREAM = "sample.label";
const MAX_CLASSES = 10_000, TOLERANCE = 1e-6; // of the sum of the shares
const NEAREST = 3; // how many classes a message lists

const sum = (numbers) => numbers.reduce((total, number) => total + number, 0);

/**
 * Return what the metadata say of the classes, {names, shares}, both empty without classes: the shares are those of the
 * training data. Throws SamplerError for what no generator has.
 */
export function readClasses(metadata) {
  if (metadata.classes === undefined) return { names: [], shares: [] };
  const names = parsed(metadata, "classes"), shares = parsed(metadata, "class_shares");
  if (!Array.isArray(names) || names.length < 1 || names.length > MAX_CLASSES) {
    throw new SamplerError(`classes: expected 1 to ${MAX_CLASSES} names`);
  }
  if (!names.every((name) => typeof name === "string") || new Set(names).size !== names.length) {
    throw new SamplerError("classes: expected different texts");
  }
  const areShares = Array.isArray(shares) && shares.every((share) => Number.isFinite(share) && share >= 0);
  if (!areShares || shares.length !== names.length || Math.abs(sum(shares) - 1) > TOLERANCE) {
    throw new SamplerError(`class_shares: expected ${names.length} numbers that add up to 1`);
  }
  return { names, shares };
}

/** Return the number of letters to insert, delete or replace between two texts (Levenshtein 1966). */
function distance(first, second) {
  let row = Array.from({ length: second.length + 1 }, (_, i) => i);
  for (let i = 0; i < first.length; i++) {
    const next = [i + 1];
    for (let j = 0; j < second.length; j++) {
      next.push(Math.min(row[j + 1] + 1, next[j] + 1, row[j] + (first[i] === second[j] ? 0 : 1)));
    }
    row = next;
  }
  return row.at(-1);
}

/** Return the number of a class given by its name or number; a text that is a name is never read as a number. */
function classNumber(label, names) {
  if (typeof label === "string" && names.includes(label)) return names.indexOf(label);
  const number = /^[0-9]+$/.test(label) ? Number(label) : -1;
  if (number >= 0 && number < names.length) return number;
  const far = new Map(names.map((name) => [name, distance(String(label), name)]));
  const nearest = [...names].sort((first, second) => far.get(first) - far.get(second)).slice(0, NEAREST);
  const expected = `expected a class such as ${nearest.join(", ")}, or a number from 0 to ${names.length - 1}`;
  throw new SamplerError(`label=${label}: ${expected}`);
}

/** Return the numbers of the classes of `count` samples: all of one label, or those of an array of one for each. */
export function classNumbers(label, count, names) {
  if (!names.length) throw new SamplerError(`label=${label}: this generator has no classes; expected no label`);
  if (!Array.isArray(label)) return new Array(count).fill(classNumber(label, names));
  if (label.length !== count) {
    throw new SamplerError(`label: ${label.length} labels for ${count} samples; expected one for each`);
  }
  return label.map((each) => classNumber(each, names));
}

/** Return the numbers of the classes of the first `count` samples of a seed, drawn by the shares of the classes. */
export function drawnClasses(count, shares, seed) {
  let total = 0;
  const ends = shares.map((share) => (total += share)); // the sums of numpy.cumsum
  const classOf = (u) => {
    const found = ends.findIndex((end) => u < end);
    return found < 0 ? shares.length - 1 : found;
  };
  return Array.from(uniforms(count, integer("seed", seed, 0), STREAM), classOf);
}
