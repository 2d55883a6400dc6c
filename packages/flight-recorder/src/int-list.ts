/** A list of 32-bit integers that grows: what plain arrays of millions of small numbers cost too much memory for. */
export class IntList {
  /** Elements in use. */
  length = 0;
  #values = new Int32Array(16);

  /** Appends, and returns the index. */
  push(value: number): number {
    if (this.length === this.#values.length) {
      const grown = new Int32Array(2 * this.length);
      grown.set(this.#values);
      this.#values = grown;
    }
    this.#values[this.length] = value;
    return this.length++;
  }

  /** The element at an index below `length`. */
  at(index: number): number {
    return this.#values[index] as number;
  }
}
