// The top of the y axis: a round number above the highest value, which stays while the curve fits well beneath it, so
// that the curve moves and the axis does not.

const STEPS = [1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10];
const HEADROOM = 1.15;

export function top(highest, current) {
  if (!(highest > 0)) return current || 1;
  if (current && highest * 1.02 <= current && highest >= current * 0.55) return current;
  const wanted = highest * HEADROOM;
  const power = 10 ** Math.floor(Math.log10(wanted));
  return STEPS.find((step) => step * power >= wanted) * power;
}
