import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expectClose, runRanks } from '@megatron-ts/testing';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { failedChecks, type Limits } from './checks.ts';
import type { FamilyConfig, ModelPlan } from './model-plan.ts';
import { readRun, type Run } from './recording.ts';
import { alone, initStd } from './run-plan.ts';

const sizes = { vocabSize: 61, maxSequenceLength: 16, hiddenSize: 32, numLayers: 2, numAttentionHeads: 4, initStd };
const families: readonly FamilyConfig[] = [
  { family: 'Llama', model: { ...sizes, numKeyValueHeads: 1, ffnHiddenSize: 48 } },
  { family: 'BERT', model: { ...sizes, addBinaryHead: true, labelSmoothing: 0.1, zLoss: 1e-2 } },
  { family: 'T5', model: { ...sizes, activation: 'geglu', tiedHead: false, initFactor: 0.5 } },
];

interface Dtypes {
  readonly text: string;
  readonly dtypes: { readonly paramDType?: 'bf16'; readonly computeDType?: 'bf16' };
  /** How far ranks, which round partial sums apart, may be from one rank. */
  readonly limits: Limits;
  /** How far one rank may be from f32, relative, in its losses. */
  readonly fromF32: number;
}

const kinds: readonly Dtypes[] = [
  {
    text: 'bf16 products over f32 storage',
    dtypes: { computeDType: 'bf16' },
    limits: { gradient: 3e-2, zeroGradient: 1e-3, gradientNorm: 3e-3, loss: 1e-3 },
    fromF32: 2e-3,
  },
  {
    text: 'bf16 storage',
    dtypes: { paramDType: 'bf16' },
    limits: { gradient: 5e-2, zeroGradient: 2e-3, gradientNorm: 1e-2, loss: 2e-3 },
    fromF32: 5e-3,
  },
];

const folder = mkdtempSync(join(tmpdir(), 'megatron-bf16-shards-'));
const nameOf = (family: string, text: string, layout: string) => `${family} ${text} ${layout}`;

function plans(): ModelPlan[] {
  const common = { batch: 2, numMicrobatches: 2, steps: 4, packed: true, seed: 77 };
  return families.flatMap(({ family, model }) => {
    const planOf = (text: string, change: object, ranks: readonly number[]): ModelPlan => {
      const layout = ranks.length === 1 ? alone : { data: 1, pipeline: 1, tensor: 2 };
      const given = { family, model: { ...model, ...change, sequenceParallel: ranks.length > 1 } } as FamilyConfig;
      return { ...common, ...given, name: nameOf(family, text, ranks.length === 1 ? 'one' : 'two'), layout, ranks };
    };
    const both = kinds.flatMap(({ text, dtypes }) => [planOf(text, dtypes, [0]), planOf(text, dtypes, [0, 1])]);
    return [planOf('f32', {}, [1]), ...both];
  });
}

beforeAll(async () => {
  const env = { MEGATRON_TIMEOUT_MS: '60000', MEGATRON_SLOW_MS: '20000' };
  const module = new URL('ranks/step-models.ts', import.meta.url);
  await runRanks(2, module, 'stepModels', { args: [folder, plans()], env, timeoutMs: 240_000 });
});

afterAll(() => rmSync(folder, { recursive: true, force: true }));

function runOf(family: string, text: string, size: 1 | 2): Run {
  return readRun(folder, { name: nameOf(family, text, size === 1 ? 'one' : 'two'), size });
}

describe.each(families)('$family of packed documents', ({ family }) => {
  it.each(kinds)('in $text learns on one rank as in f32, and not with its bits', ({ text, fromF32 }) => {
    const [own, exact] = [runOf(family, text, 1)[0]?.losses ?? [], runOf(family, 'f32', 1)[0]?.losses ?? []];
    expectClose(own, exact, { rtol: fromF32, because: 'numbers are rounded to 8 bits' });
    expect(own).not.toEqual(exact);
  });

  it.each(kinds)('in $text on two ranks with the sequence cut begins with the bits of one rank and stays close', ({ text, limits }) => {
    expect([...failedChecks({ run: runOf(family, text, 2), alone: runOf(family, text, 1), limits })]).toEqual([]);
  });
});
