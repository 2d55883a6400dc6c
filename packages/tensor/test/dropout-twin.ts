/** What an element is drawn by, as the counter of the generator: number in the row / 4, row, head, sample. */
export interface Counted {
  /** Channel of an activation, or key of a probability. */
  readonly element: number;
  /** Token of an activation, or query of a probability. */
  readonly row: number;
  readonly head?: number;
  readonly sample: number;
}

/** 0 or 1 / (1 - p), drawn one at a time with big integers: what the engine's dropout must agree with. */
export function factorTwin(p: number, key: readonly [number, number], { element, row, head = 0, sample }: Counted): number {
  const word = philoxTwin([Math.floor(element / 4), row, head, sample], key)[element % 4] ?? 0;
  return word < Math.floor(p * 2 ** 32) ? 0 : Math.fround(1 / (1 - p));
}

/** Philox4x32-10 as its authors wrote it. */
function philoxTwin(counter: readonly number[], key: readonly [number, number]): number[] {
  const low = (value: bigint) => value & 0xffff_ffffn;
  let [a = 0n, b = 0n, c = 0n, d = 0n] = counter.map(BigInt);
  let [k = 0n, l = 0n] = key.map(BigInt);
  for (let round = 0; round < 10; round++) {
    const [first, second] = [0xd251_1f53n * a, 0xcd9e_8d57n * c];
    [a, b, c, d] = [(second >> 32n) ^ b ^ k, low(second), (first >> 32n) ^ d ^ l, low(first)];
    [k, l] = [low(k + 0x9e37_79b9n), low(l + 0xbb67_ae85n)];
  }
  return [a, b, c, d].map(Number);
}
