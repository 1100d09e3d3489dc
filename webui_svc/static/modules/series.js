// Hashes a second, by the second. A second that was shown before may come again with another value.

const KEPT = 900; // seconds; as far as the server knows them by the second

export class Series {
  #hashes = new Map();

  clear() {
    this.#hashes.clear();
  }

  keep(points) {
    for (const [second, hashes] of points) this.#hashes.set(second, hashes);
    const begin = this.end - KEPT;
    for (const second of this.#hashes.keys()) if (second <= begin) this.#hashes.delete(second);
  }

  get points() {
    return [...this.#hashes];
  }

  // The first and the last second known, null if none is.
  get begin() {
    return this.#hashes.size ? Math.min(...this.#hashes.keys()) : null;
  }

  get end() {
    let end = null;
    for (const second of this.#hashes.keys()) if (end === null || second > end) end = second;
    return end;
  }

  // A second that is missing between others is null, so that the curve has a hole there.
  columns(begin) {
    const known = [...this.#hashes.keys()].filter((second) => second >= begin);
    if (!known.length) return [[], []];
    const first = known.reduce((least, second) => Math.min(least, second));
    const seconds = Array.from({ length: this.end - first + 1 }, (_, index) => first + index);
    return [seconds, seconds.map((second) => this.#hashes.get(second) ?? null)];
  }
}
