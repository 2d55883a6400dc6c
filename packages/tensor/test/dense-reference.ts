/** A dense array of plain numbers with the operations under test, written as their definitions read. */
export interface Dense {
  readonly shape: readonly number[];
  readonly data: readonly number[];
}

const size = (shape: readonly number[]) => shape.reduce((product, extent) => product * extent, 1);

/** The index of element `flat` of `shape`. */
function indexOf(flat: number, shape: readonly number[]): number[] {
  let rest = flat;
  return [...shape]
    .reverse()
    .map((extent) => {
      const at = rest % extent;
      rest = Math.floor(rest / extent);
      return at;
    })
    .reverse();
}

/** The element of `x` at `index`; dims of extent 1 are repeated, dims before the first left out. */
export function at({ shape, data }: Dense, index: readonly number[]): number {
  const own = index.slice(index.length - shape.length);
  return data[shape.reduce((flat, extent, dim) => flat * extent + (extent === 1 ? 0 : (own[dim] as number)), 0)] as number;
}

/** An array whose elements `f` gives. */
export function build(shape: readonly number[], f: (index: readonly number[]) => number): Dense {
  return { shape, data: Array.from({ length: size(shape) }, (_, flat) => f(indexOf(flat, shape))) };
}

/** Two dims exchanged. */
export function transposed(x: Dense, a: number, b: number): Dense {
  const swap = (index: readonly number[]) => index.map((own, dim) => index[dim === a ? b : dim === b ? a : dim] ?? own);
  return build(swap(x.shape), (index) => at(x, swap(index)));
}

/** A range along a dim. */
export function sliced(x: Dense, dim: number, [start, end]: readonly [number, number]): Dense {
  const shape = x.shape.map((extent, i) => (i === dim ? end - start : extent));
  return build(
    shape,
    (index) => x.data[index.reduce((flat, own, i) => flat * (x.shape[i] as number) + own + (i === dim ? start : 0), 0)] as number,
  );
}

/** Repeated by broadcasting. */
export const expanded = (x: Dense, shape: readonly number[]): Dense => build(shape, (index) => at(x, index));

/** Element by element, with broadcasting. */
export const zipped = (a: Dense, b: Dense, shape: readonly number[], f: (x: number, y: number) => number): Dense =>
  build(shape, (index) => f(at(a, index), at(b, index)));

/** Folded over `dims`, which are dropped. */
export function folded(x: Dense, dims: readonly number[], f: (values: readonly number[]) => number): Dense {
  const kept = x.shape.flatMap((_, dim) => (dims.includes(dim) ? [] : [dim]));
  const groups = new Map<string, number[]>();
  const shape = kept.map((dim) => x.shape[dim] as number);
  build(shape, (index) => (groups.set(index.join(), []), 0));
  x.data.forEach((value, flat) => {
    const index = indexOf(flat, x.shape);
    groups.get(kept.map((dim) => index[dim]).join())?.push(value);
  });
  return build(shape, (index) => f(groups.get(index.join()) ?? []));
}

/** Product over the last two dims; those before broadcast. */
export function multiplied(a: Dense, b: Dense, batch: readonly number[]): Dense {
  const [rows, inner, cols] = [a.shape.at(-2) as number, a.shape.at(-1) as number, b.shape.at(-1) as number];
  return build([...batch, rows, cols], (index) => {
    const [outer, row, col] = [index.slice(0, -2), index.at(-2) as number, index.at(-1) as number];
    let total = 0;
    for (let k = 0; k < inner; k++) total += matrixAt(a, outer, [row, k]) * matrixAt(b, outer, [k, col]);
    return total;
  });
}

/** An element of a batched matrix: only the dims of the batch are repeated. */
function matrixAt({ shape, data }: Dense, outer: readonly number[], inner: readonly [number, number]): number {
  const own = outer.slice(outer.length - (shape.length - 2));
  const batch = own.reduce((flat, index, dim) => flat * (shape[dim] as number) + (shape[dim] === 1 ? 0 : index), 0);
  return data[(batch * (shape.at(-2) as number) + inner[0]) * (shape.at(-1) as number) + inner[1]] as number;
}
