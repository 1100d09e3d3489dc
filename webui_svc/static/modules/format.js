// Numbers and times in the reader's own notation, with no digit that is not known.

const whole = new Intl.NumberFormat(undefined, { maximumFractionDigits: 0 });
const three = new Intl.NumberFormat(undefined, { minimumSignificantDigits: 3, maximumSignificantDigits: 3 });
const short = new Intl.NumberFormat(undefined, { maximumSignificantDigits: 4 });
const two = new Intl.NumberFormat(undefined, { maximumSignificantDigits: 2 });
const tenth = new Intl.NumberFormat(undefined, { maximumFractionDigits: 1 });
const percent = new Intl.NumberFormat(undefined, { style: "percent", maximumSignificantDigits: 2 });
const seconds = new Intl.DateTimeFormat(undefined, { timeStyle: "medium", hourCycle: "h23" });
const minutes = new Intl.DateTimeFormat(undefined, { timeStyle: "short", hourCycle: "h23" });
const day = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short", hourCycle: "h23" });
const UNITS = ["", "k", "M", "G", "T", "P"];

export const count = (value) => whole.format(value);
export const share = (value) => percent.format(value);

// One number if both are the same.
export const range = (least, most) => (least === most ? count(least) : `${count(least)}–${count(most)}`);

// To the tenth where that says something.
export const about = (value) => (value < 100 ? tenth : whole).format(value);

export const clock = (unixSeconds) => seconds.format(unixSeconds * 1000);
export const minute = (unixSeconds) => minutes.format(unixSeconds * 1000);
export const date = (iso) => day.format(new Date(iso));

// Three digits and a unit: 3.33, 10.0, 2.41 M.
export function speed(value) {
  if (value === 0) return whole.format(0);
  let rounded = Number(value.toPrecision(3));
  let unit = 0;
  while (rounded >= 1000 && unit < UNITS.length - 1) {
    rounded /= 1000;
    unit += 1;
  }
  return UNITS[unit] ? `${three.format(rounded)}\u00a0${UNITS[unit]}` : three.format(rounded);
}

// The same without needless zeros, for the ticks of an axis.
export function tick(value) {
  let unit = 0;
  let scaled = value;
  while (scaled >= 1000 && unit < UNITS.length - 1) {
    scaled /= 1000;
    unit += 1;
  }
  return UNITS[unit] ? `${short.format(scaled)}\u00a0${UNITS[unit]}` : short.format(scaled);
}

// Latencies are known to within a fifth, so two digits say all.
export function duration(value) {
  if (value === null) return "–";
  const [scaled, unit] = value < 0.000995 ? [value * 1e6, "µs"] : value < 0.995 ? [value * 1e3, "ms"] : [value, "s"];
  return `${scaled >= 100 ? whole.format(Math.round(Number(scaled.toPrecision(2)))) : two.format(scaled)}\u00a0${unit}`;
}
