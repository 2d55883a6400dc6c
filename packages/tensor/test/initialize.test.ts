import { type InitRule, type LogicalTensor, Parameter, philoxKey, type Rectangle } from '@megatron-ts/tensor';
import { describe, expect, it } from 'vitest';

const context = { seed: 99, device: 'cpu', coordinates: () => ({ size: 1, rank: 0 }) };
const normal: InitRule = { kind: 'normal', std: 0.5 };

function drawn(
  shape: number[],
  init: InitRule,
  options: { name?: string; seed?: number; logical?: LogicalTensor[]; sharedName?: string } = {},
): number[] {
  const { name = 'w', seed = context.seed, logical, sharedName } = options;
  const meta =
    logical === undefined ? undefined : { logical, shardedOver: ['tp'], gradPartialOver: [], sharedOver: undefined, isPrimary: true };
  const parameter = new Parameter({
    shape,
    init,
    ...(meta === undefined ? {} : { meta }),
    ...(sharedName === undefined ? {} : { sharedName }),
  });
  parameter.initialize(name, { ...context, seed });
  const values = [...(parameter.toArray() as Float32Array)];
  parameter.dispose();
  return values;
}

const box = (globalOffset: number[], localOffset: number[], extent: number[]): Rectangle => ({ globalOffset, localOffset, extent });

describe('initialize', () => {
  const whole = drawn([6, 5], normal);
  const at = (row: number, col: number) => whole[row * 5 + col];

  it.each([normal, { kind: 'uniform', low: -1, high: 2 } as const])('draws equal slices for every cut: $kind', (init) => {
    const full = drawn([6, 5], init);
    for (const [rows, cols] of [
      [1, 5],
      [2, 5],
      [3, 1],
      [6, 1],
      [2, 1],
    ] as const)
      for (let top = 0; top + rows <= 6; top += rows)
        for (let left = 0; left + cols <= 5; left += cols) {
          const part = drawn([rows, cols], init, {
            logical: [{ suffix: '', globalShape: [6, 5], rectangles: [box([top, left], [0, 0], [rows, cols])] }],
          });
          const slice = Array.from({ length: rows * cols }, (_, i) => full[(top + Math.floor(i / cols)) * 5 + left + (i % cols)]);
          expect(part).toEqual(slice);
        }
  });

  it('draws several rectangles of one tensor into one memory', () => {
    const rectangles = [box([4, 1], [0, 0], [2, 3]), box([0, 0], [2, 1], [1, 2])];
    const part = drawn([3, 3], normal, { logical: [{ suffix: '', globalShape: [6, 5], rectangles }] });
    const [untouched] = drawn([1], { kind: 'zeros' });
    expect(part.slice(0, 6)).toEqual([at(4, 1), at(4, 2), at(4, 3), at(5, 1), at(5, 2), at(5, 3)]);
    expect(part.slice(7)).toEqual([at(0, 0), at(0, 1)]);
    expect(untouched).toBe(0);
  });

  it('draws the logical tensors of one parameter apart, each by its own name', () => {
    const globalShape = [4, 3];
    const logical = (rows: number, from: number) =>
      ['q', 'k', 'v'].map((suffix, i) => ({ suffix, globalShape, rectangles: [box([from, 0], [i * rows, 0], [rows, 3])] }));
    const full = drawn([12, 3], normal, { logical: logical(4, 0) });
    const half = drawn([6, 3], normal, { logical: logical(2, 2) });
    for (const part of [0, 1, 2]) expect(half.slice(part * 6, part * 6 + 6)).toEqual(full.slice(part * 12 + 6, part * 12 + 12));
    expect(full.slice(0, 12)).toEqual(drawn([4, 3], normal, { name: 'w.q' }));
    expect(full.slice(0, 12)).not.toEqual(full.slice(12, 24));
  });

  it('depends on seed and name alone, and a shared name replaces the path', () => {
    expect(drawn([6, 5], normal)).toEqual(whole);
    expect(drawn([6, 5], normal, { seed: 100 })).not.toEqual(whole);
    expect(drawn([6, 5], normal, { seed: 99 + 2 ** 32 })).not.toEqual(whole);
    expect(drawn([6, 5], normal, { name: 'v' })).not.toEqual(whole);
    expect(drawn([6, 5], normal, { name: 'head.weight', sharedName: 'w' })).toEqual(whole);
  });

  it('draws what the rule says', () => {
    const count = 20_000;
    const mean = (values: number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;
    const gauss = drawn([count], { kind: 'normal', mean: 3, std: 0.5 });
    expect(mean(gauss)).toBeCloseTo(3, 1);
    expect(Math.sqrt(mean(gauss.map((value) => (value - 3) ** 2)))).toBeCloseTo(0.5, 1);
    const even = drawn([count], { kind: 'uniform', low: -1, high: 2 });
    expect(mean(even)).toBeCloseTo(0.5, 1);
    expect(Math.min(...even)).toBeGreaterThanOrEqual(-1);
    expect(Math.max(...even)).toBeLessThanOrEqual(2);
    expect(drawn([3], { kind: 'zeros' })).toEqual([0, 0, 0]);
    expect(drawn([3], { kind: 'ones' })).toEqual([1, 1, 1]);
  });

  it('keys differ in both words between neighbours in name and seed', () => {
    const keys = ['layers.0.w', 'layers.1.w', 'layers.0.b', ''].flatMap((name) =>
      [0, 1, 2 ** 32, 2 ** 32 + 1].map((seed) => philoxKey(seed, name)),
    );
    for (const word of [0, 1] as const) expect(new Set(keys.map((key) => key[word])).size).toBeGreaterThan(7);
    expect(new Set(keys.map(String)).size).toBe(16);
  });
});
