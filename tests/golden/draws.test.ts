import { engine, filled, philoxKey, scope } from '@megatron-ts/tensor';
import { expectUlp } from '@megatron-ts/testing';
import { describe, expect, it } from 'vitest';
import { readGolden } from './read-golden.ts';

interface Draw {
  readonly seed: number;
  readonly name: string;
  readonly key: [number, number];
  readonly start: number;
  readonly uniform: number[];
  readonly normal: number[];
}

describe('draws', () => {
  it.each(readGolden<Draw[]>('draws.json').map((draw) => [draw.seed, draw.name, draw.start, draw] as const))(
    'equal those of a second generator: seed %d, "%s", from element %d',
    (seed, name, start, draw) => {
      const key = philoxKey(seed, name);
      expect(key).toEqual(draw.key);
      scope(() => {
        const drawn = (kind: number, a: number, b: number) => {
          const values = filled([draw.uniform.length], {});
          engine.fillRandom(values.handle, kind, a, b, Float64Array.of(1, values.numel, 1, 0, 1, start), key[0], key[1]);
          return values.toArray() as Float32Array;
        };
        expectUlp(1)(drawn(0, -1, 3), draw.uniform); // f64 sines and logarithms may differ in their last bit
        expectUlp(1)(drawn(1, 0.5, 2), draw.normal);
      });
    },
  );
});
