/* The controls that choose which channels are shown, and which values are the darkest and the brightest. */

import { $ } from "./calls.js";
import { defaultChannels, viewOf } from "./values.js";

/** Return the choices of channels: the default one, the first three as colours, and each by itself. */
function choices(count) {
  const several = count < 3 ? [] : [defaultChannels(count), [0, 1, 2]].slice(count === 4 ? 0 : 1);
  return [...several, ...Array.from({ length: count }, (_, i) => [i])];
}

function nameOf(channels, { channelNames }) {
  if (channels.length === 1) return channelNames[channels[0]] ?? `Channel ${channels[0] + 1}`;
  return channels.length === 3 ? "1–3 as colours" : "1–4 as colours and opacity";
}

/** Return the range of the sliders: values, or percents of each channel's levels if those of the channels differ. */
function rangeOf({ low, high }, { unit }) {
  const areSame = [low, high].every((side) => side.every((value) => value === side[0]));
  return areSame ? { least: low[0], most: high[0], unit } : { least: 0, most: 100, unit: "%" };
}

/** Write a value with its unit, to a thousandth of the range. */
function text(value, { least, most, unit }) {
  const digits = Math.min(20, Math.max(0, 2 - Math.floor(Math.log10(most - least))));
  const format = { minimumFractionDigits: digits, maximumFractionDigits: digits, signDisplay: "negative" };
  return `${value.toLocaleString("en", format)} ${unit}`.trim();
}

/**
 * Prepare the controls for the values of a generator, and return the function that gives the current view. `onChange` is
 * called when the visitor has changed it. Pages of pictures in 8 bits have no controls: their view is the default one.
 */
export function display(values, onChange) {
  const count = values.low.length;
  if (!$("display")) return () => viewOf(defaultChannels(count), values);
  const all = choices(count);
  let whole, range;

  const view = () => {
    const share = (id) => (Number($(id).value) - range.least) / (range.most - range.least);
    const between = (id) => whole.low.map((low, i) => low + share(id) * (whole.high[i] - low));
    return { channels: whole.channels, low: between("low"), high: between("high") };
  };
  const tell = () => {
    for (const id of ["low", "high"]) {
      $(`${id}-shown`).textContent = text(Number($(id).value), range);
      $(id).setAttribute("aria-valuetext", $(`${id}-shown`).textContent);
    }
  };
  const choose = () => {
    whole = viewOf(all[$("channels").selectedIndex], values);
    range = rangeOf(whole, values);
    for (const id of ["low", "high"]) Object.assign($(id), { min: range.least, max: range.most });
    [$("low").value, $("high").value] = [range.least, range.most];
    tell();
  };
  /** Let the other slider follow where the darkest value would be above the brightest one. */
  const slide = (id, other) => {
    if (Number($("low").value) > Number($("high").value)) $(other).value = $(id).value;
    tell();
    onChange();
  };

  $("channels").append(...all.map((channels) => new Option(nameOf(channels, values))));
  $("channels").addEventListener("change", () => { choose(); onChange(); });
  $("low").addEventListener("input", () => slide("low", "high"));
  $("high").addEventListener("input", () => slide("high", "low"));
  choose();
  return view;
}
