// The latest coins, and whether there are as many as expected.

import { arrange, element, make, setText, show } from "./dom.js";
import { about, clock, count, range } from "./format.js";

const FEWEST_DIGITS = 2; // of the digest, shown in bits
const MOST_DIGITS = 6;
const NORMAL = 1.96; // standard deviations each way that have 95 % of a normal distribution
const SPAN = 4; // standard deviations from the middle of the scale to its end

export function showCoins({ latest, minute, expected, deviation }) {
  show("coins-per-minute", count(minute));
  // Not known until a worker has reported how many bits make a coin.
  const [least, most] = [Math.max(0, Math.ceil(expected - NORMAL * deviation)), Math.floor(expected + NORMAL * deviation)];
  show("expected", expected === null ? "" : `${about(expected)} expected; ${range(least, most)} in 95\u00a0% of all minutes`);
  const off = deviation > 0 ? Math.max(-SPAN, Math.min(SPAN, (minute - expected) / deviation)) : 0;
  element("deviation").hidden = !(deviation > 0);
  element("deviation").style.setProperty("--off", off / SPAN);
  const byKey = new Map(latest.map((coin) => [coin.digest, coin]));
  const rows = arrange(element("coin-list"), [...byKey.keys()], (digest) => coinRow(byKey.get(digest)));
  rows.forEach((row) => setText(row.lastChild, clock(byKey.get(row.dataset.key).at)));
}

function coinRow({ digest, bits, at, worker }) {
  const digits = Math.max(FEWEST_DIGITS, Math.min(MOST_DIGITS, Math.ceil((bits + 1) / 4)));
  const binary = [...digest.slice(0, digits)].map((digit) => parseInt(digit, 16).toString(2).padStart(4, "0")).join("");
  const zeros = Math.min(bits, binary.length);
  const whole = Math.floor(bits / 4);
  const when = make("time", { datetime: new Date(at * 1000).toISOString() });
  return make(
    "li",
    { title: `${digest}, found by ${worker}` },
    make(
      "span",
      { class: "bits" },
      make("span", { class: "unseen" }, `${count(bits)} leading zero bits: `),
      make("mark", {}, grouped(binary.slice(0, zeros), 0)),
      grouped(binary.slice(zeros), zeros),
    ),
    make("span", { class: "digest" }, make("mark", {}, digest.slice(0, whole)), digest.slice(whole)),
    when,
  );
}

// A gap after each four bits, which are one digit.
function grouped(bits, offset) {
  return [...bits].map((bit, index) => (index + offset > 0 && (index + offset) % 4 === 0 ? `\u2009${bit}` : bit)).join("");
}
