// The top of the y axis: a round number above the highest value. It grows at once, and shrinks when the curve has been
// low for a while, so that the curve moves and the axis does not.

const STEPS = [1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10];
const HEADROOM = 1.15;
const LOW = 0.55; // of the top
const PATIENCE = 10; // seconds

export class Top {
  #top = 0;
  #lowSince = null;

  reset() {
    this.#top = 0;
  }

  // seconds: the end of what is shown.
  fit(highest, seconds) {
    if (!(highest > 0)) return this.#top || 1;
    const low = this.#top > 0 && highest < this.#top * LOW;
    this.#lowSince = low ? (this.#lowSince ?? seconds) : null;
    if (highest * 1.02 > this.#top || (low && seconds - this.#lowSince >= PATIENCE)) {
      const wanted = highest * HEADROOM;
      const power = 10 ** Math.floor(Math.log10(wanted));
      this.#top = STEPS.find((step) => step * power >= wanted) * power;
      this.#lowSince = null;
    }
    return this.#top;
  }
}
