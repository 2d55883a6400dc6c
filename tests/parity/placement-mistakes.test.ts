import { backward, initializeModelParallel, scope, withChecking } from '@megatron-ts/core';
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

  it('is off unless asked for', async () => {
    for (const { wrong } of placementMistakes) expect(await run(wrong, false)).toBe('nothing was refused');
  });
});
