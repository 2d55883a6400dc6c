import { engine } from './engine.ts';
import type { InitRule, ParamMeta, Rectangle } from './param-meta.ts';
import { numel, stridesOf } from './shape.ts';

/** What is filled, and by which rule. */
export interface FillOptions {
  /** Name of the parameter. */
  readonly name: string;
  /** Local shape. */
  readonly shape: readonly number[];
  /** Its place in the whole model. */
  readonly meta: ParamMeta;
  /** The rule. */
  readonly init: InitRule;
  /** Seed of the run. */
  readonly seed: number;
}

/** Fills local memory with the values of the whole tensors at this rank's rectangles. */
export function fillByRule(handle: number, { name, shape, meta, init, seed }: FillOptions): void {
  if (init.kind !== 'normal' && init.kind !== 'uniform') {
    engine.fill(handle, init.kind === 'ones' ? 1 : 0);
    return;
  }
  if (logicalNumel(meta) < numel(shape)) engine.fill(handle, 0); // what pads the memory
  for (const { suffix, globalShape, rectangles, init: own = init } of meta.logical) {
    const [kind, a, b] = drawnBy(own);
    const [key0, key1] = philoxKey(seed, suffix === '' ? name : `${name}.${suffix}`);
    for (const rectangle of rectangles)
      engine.fillRandom(handle, kind, a, b, fillLayout(rectangle, stridesOf(shape), stridesOf(globalShape)), key0, key1);
  }
}

/** A rule in the engine's words; a constant is a normal distribution without width. */
function drawnBy(init: InitRule): readonly [kind: number, a: number, b: number] {
  if (init.kind === 'uniform') return [0, init.low, init.high];
  return init.kind === 'normal' ? [1, init.mean ?? 0, init.std] : [1, init.kind === 'ones' ? 1 : 0, 0];
}

/** Elements that are part of the model. */
function logicalNumel({ logical }: ParamMeta): number {
  return logical.flatMap(({ rectangles }) => rectangles).reduce((total, { extent }) => total + numel(extent), 0);
}

function fillLayout({ extent, localOffset, globalOffset }: Rectangle, local: readonly number[], global: readonly number[]): Float64Array {
  const flat = (offset: readonly number[], strides: readonly number[]) =>
    offset.reduce((sum, at, dim) => sum + at * (strides[dim] ?? 0), 0);
  return Float64Array.of(extent.length, ...extent, ...local, flat(localOffset, local), ...global, flat(globalOffset, global));
}

/** Two 32-bit words from (seed, name): FNV-1a over the UTF-8 name, with two offsets, mixed with the seed. */
export function philoxKey(seed: number, name: string): [number, number] {
  const bytes = new TextEncoder().encode(name);
  const hash = (start: number) => {
    let state = start >>> 0;
    for (const byte of bytes) state = Math.imul(state ^ byte, 0x01000193) >>> 0;
    return state;
  };
  const low = seed >>> 0;
  const high = Math.floor(seed / 2 ** 32) >>> 0;
  return [mix(hash(0x811c9dc5) ^ low), mix(hash(0x9747b28c) ^ high ^ Math.imul(low, 0x9e3779b1))];
}

/** Finalizer of MurmurHash3: every input bit reaches every output bit. */
function mix(value: number): number {
  let x = value >>> 0;
  x = Math.imul(x ^ (x >>> 16), 0x85ebca6b);
  x = Math.imul(x ^ (x >>> 13), 0xc2b2ae35);
  return (x ^ (x >>> 16)) >>> 0;
}
