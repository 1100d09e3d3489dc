// Numbers in the reader's own notation, with no digit that is not known.

const whole = new Intl.NumberFormat();
const three = new Intl.NumberFormat(undefined, { minimumSignificantDigits: 3, maximumSignificantDigits: 3 });
const UNITS = ["", "k", "M", "G", "T", "P"];

export const count = (value) => whole.format(value);

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

// The same without needless zeros, for marks on an axis.
export function mark(value) {
  let unit = 0;
  let scaled = value;
  while (scaled >= 1000 && unit < UNITS.length - 1) {
    scaled /= 1000;
    unit += 1;
  }
  const text = new Intl.NumberFormat(undefined, { maximumSignificantDigits: 4 }).format(scaled);
  return UNITS[unit] ? `${text}\u00a0${UNITS[unit]}` : text;
}
