// The points of the graph. A second that was shown before may come again with another value.

export class Series {
  #hashes = new Map();
  #shown = 300; // seconds

  clear(shown) {
    this.#hashes.clear();
    this.#shown = shown;
  }

  keep(points) {
    for (const [second, hashes] of points) this.#hashes.set(second, hashes);
    const { begin } = this.window;
    for (const second of this.#hashes.keys()) if (second < begin) this.#hashes.delete(second);
  }

  // The seconds on show end with the last one known, so the curve never tears off at the right.
  get window() {
    const end = this.#hashes.size ? Math.max(...this.#hashes.keys()) : Math.floor(Date.now() / 1000);
    return { begin: end - this.#shown + 1, end };
  }

  get columns() {
    const seconds = [...this.#hashes.keys()].sort((a, b) => a - b);
    return [seconds, seconds.map((second) => this.#hashes.get(second))];
  }
}
