/** How far two lists of arrays are apart. */
export interface Deviation {
  /** Numbers compared. */
  readonly numel: number;
  /** Largest difference. */
  readonly maxAbs: number;
  /** Largest difference over the largest magnitude of its array. */
  readonly maxRel: number;
  /** Largest magnitude of all. */
  readonly largest: number;
  /** Places where one alone is not finite. */
  readonly notFinite: number;
}

/** Compares results one by one. @throws Error when there are not as many, or not as long ones */
export function deviation(ours: readonly Float32Array[], others: readonly Float32Array[]): Deviation {
  const lengths = (arrays: readonly Float32Array[]) => arrays.map(({ length }) => length).join(', ');
  if (lengths(ours) !== lengths(others))
    throw new Error(`gpu-pack: our results have ${lengths(ours)} numbers, the others ${lengths(others)}. They cannot be compared.`);
  const parts = ours.map((array, at) => ofOne(array, others[at] as Float32Array));
  const most = (f: (part: Deviation) => number) => Math.max(0, ...parts.map(f));
  const total = (f: (part: Deviation) => number) => parts.reduce((sum, part) => sum + f(part), 0);
  return {
    numel: total(({ numel }) => numel),
    maxAbs: most(({ maxAbs }) => maxAbs),
    maxRel: most(({ maxRel }) => maxRel),
    largest: most(({ largest }) => largest),
    notFinite: total(({ notFinite }) => notFinite),
  };
}

function ofOne(a: Float32Array, b: Float32Array): Deviation {
  let [maxAbs, largest, notFinite] = [0, 0, 0];
  for (const [i, x] of a.entries()) {
    const y = b[i] as number;
    if (Number.isFinite(x) && Number.isFinite(y)) {
      maxAbs = Math.max(maxAbs, Math.abs(x - y));
      largest = Math.max(largest, Math.abs(y));
    } else if (!Object.is(x, y)) notFinite++;
  }
  return { numel: a.length, maxAbs, maxRel: largest === 0 ? maxAbs : maxAbs / largest, largest, notFinite };
}
