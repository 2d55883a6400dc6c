import {
  type AnyTensor,
  backward,
  declarePlacement,
  initializeModelParallel,
  ParallelMLP,
  scope,
  tensor,
  withChecking,
} from '@megatron-ts/core';
import { describe, expect, it } from 'vitest';
import { Layers, type PlacementMistake, placementMistakes } from './placement-mistakes.ts';

// One rank alone of two: where values live does not depend on them.
const world = { backend: 'fake', worldSize: 2, rank: 0, tensorModelParallelSize: 2 } as const;

/** Forward and backward of a body; what was refused, as a user reads it. */
async function run(body: PlacementMistake['wrong'], checks = true): Promise<string> {
  await using ctx = await initializeModelParallel(world);
  const layers = new Layers(ctx).initialize(ctx);
  try {
    // NaN is no concern here: nothing moves between the ranks of this world.
    runChecked(checks, () => scope(() => void backward([body(layers)])));
    return 'nothing was refused';
  } catch (error) {
    const { name, code, message } = error as { name: string; code?: string; message: string };
    return code === 'WRONG_PLACEMENT' ? message : `${name} ${code}: ${message}`;
  } finally {
    layers.dispose();
  }
}

function runChecked(checks: boolean, f: () => void): void {
  if (checks) f();
  else withChecking(false, f);
}

describe('the placement checker', () => {
  it('knows at least 20 mistakes, eight of them in backward', () => {
    const inBackward = placementMistakes.filter((mistake) => mistake.inBackward);
    expect([placementMistakes.length >= 20, inBackward.length >= 8]).toEqual([true, true]);
    expect(new Set(placementMistakes.map(({ name }) => name)).size).toBe(placementMistakes.length);
  });

  it.each(placementMistakes)('refuses: $name', async ({ wrong, says }) => {
    expect(await run(wrong)).toMatch(says);
  });

  it.each(placementMistakes)('accepts what is right instead: $name', async ({ right }) => {
    expect(await run(right)).toBe('nothing was refused');
  });

  it.each(placementMistakes.filter(({ inBackward }) => inBackward))('finds it in backward, not before: $name', async ({ wrong }) => {
    expect(await run(wrong)).toMatch(/^(rank \d.*: )?backward of /);
  });

  it('follows an axis that the caller declares beside one that the layers declare', async () => {
    const sizes = { backend: 'fake', worldSize: 4, rank: 0, tensorModelParallelSize: 2 } as const;
    await using ctx = await initializeModelParallel(sizes);
    const mlp = new ParallelMLP({ hiddenSize: 8, tpGroup: ctx.tp }).initialize(ctx);
    const output = () => mlp.call(declarePlacement(tensor(new Float32Array(64), [4, 2, 8]), 'batch sharded over dp')) as AnyTensor;
    scope(() => {
      expect(output().placement).toBe('batch sharded over dp');
      const loss = output().sum();
      expect(loss.placement).toBe('partial sum over dp');
      expect(() => loss.item()).toThrow(/item: \[\] \(partial sum over dp, since sum\).*Reduce it over dp first/);
      backward([loss], [tensor([1], [])]); // gradients that are summands over dp are data parallelism's to sum
      expect(mlp.down.bias?.grad?.shape).toEqual([8]);
      expect(() => mlp.call(declarePlacement(tensor(new Float32Array(64), [4, 2, 8]), 'hidden sharded over tp'))).toThrow(
        /linear: \[4, 2, 8\] \(hidden sharded over tp\) times/,
      );
    });
    mlp.dispose();
  });

  it('is off unless asked for', async () => {
    for (const { wrong } of placementMistakes) expect(await run(wrong, false)).toBe('nothing was refused');
  });
});
