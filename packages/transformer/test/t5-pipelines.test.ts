import { expectBitwise, expectClose, expectRelativeL2, runRanks } from '@megatron-ts/testing';
import { describedPlace, parameterCount, T5Model } from '@megatron-ts/transformer';
import { beforeAll, describe, expect, it } from 'vitest';
import type { Stored } from '../../tensor-parallel/test/ranks/observe.ts';
import { wholeTensors } from '../../tensor-parallel/test/whole-tensors.ts';
import { type LayoutName, layouts, type ModelName, models, type PipelineStep, type PipelineSteps } from './ranks/t5-pipelines.ts';

let ranks: PipelineSteps[];

beforeAll(async () => {
  ranks = await runRanks<PipelineSteps>(4, new URL('ranks/t5-pipelines.ts', import.meta.url), 'pipelineSteps');
});

const otherOrder = 'stages add what each of them knows of a table of biases, and tensor parallelism splits products';

/** What the ranks of the first mesh of a layout saw. */
function stepsOf(model: ModelName, layout: LayoutName): PipelineStep[] {
  const { dp, tp, pp } = layouts[layout];
  return ranks.slice(0, dp * tp * pp).map((steps) => steps[model][layout] as PipelineStep);
}

/** Whole tensors; those that several ranks hold are compared bit for bit on the way. */
function whole(model: ModelName, layout: LayoutName, pick: (step: PipelineStep) => Stored[]): Map<string, Float32Array> {
  return wholeTensors(stepsOf(model, layout).map(pick));
}

describe.each(Object.keys(models) as ModelName[])('a T5 of %s', (model) => {
  it.each([
    ['pp 2', 'alone'],
    ['pp 4', 'alone'],
    ['tp 2, pp 2', 'tp 2'],
  ] as const)('has on %s the bits of %s, but for the biases of distances, which are close', (pipelined, plain) => {
    const [[expected], steps] = [stepsOf(model, plain), stepsOf(model, pipelined)];
    for (const { loss, gradNorm } of steps) {
      expect(loss).toBe(expected?.loss);
      expectClose([gradNorm], [expected?.gradNorm ?? 0], { rtol: 1e-6, because: otherOrder });
    }
    for (const pick of [(step: PipelineStep) => step.initial, (step: PipelineStep) => step.grads, (step: PipelineStep) => step.final]) {
      const [own, other] = [whole(model, pipelined, pick), whole(model, plain, pick)];
      expect([...own.keys()].sort()).toEqual([...other.keys()].sort());
      for (const [name, values] of own)
        if (name.endsWith('relativeBias.weight')) expectRelativeL2(values, other.get(name) ?? [], { limit: 5e-6, because: otherOrder });
        else expectBitwise(values, other.get(name) ?? []);
    }
  });

  it.each(['dp 2, pp 2', 'tp 2, pp 2'] as const)('is on %s close to one rank in loss, gradient norm and every gradient', (layout) => {
    const [alone] = stepsOf(model, 'alone');
    for (const { loss, gradNorm } of stepsOf(model, layout))
      expectClose([loss, gradNorm], [alone?.loss ?? 0, alone?.gradNorm ?? 0], { rtol: 2e-6, because: otherOrder });
    const [own, other] = [whole(model, layout, ({ grads }) => grads), whole(model, 'alone', ({ grads }) => grads)];
    expect([...own.keys()].sort()).toEqual([...other.keys()].sort());
    for (const [name, values] of own) expectRelativeL2(values, other.get(name) ?? [], { limit: 5e-6, because: otherOrder });
    expect(whole(model, layout, ({ final }) => final).size).toBe(own.size);
  });
});

describe('stages of a T5', () => {
  it('hold equal parts of both stacks in a row, of both where the cut falls so', () => {
    const held = (model: ModelName, layout: LayoutName) => stepsOf(model, layout).map(({ layers }) => layers);
    const [two, one] = Object.keys(models) as [ModelName, ModelName];
    expect(held(two, 'pp 4')).toEqual([
      [[0], []],
      [[1], []],
      [[], [0]],
      [[], [1]],
    ]);
    expect(held(one, 'pp 2')).toEqual([
      [[0], [0]],
      [[], [1, 2]],
    ]);
  });

  it('count each parameter once', () => {
    const countOf = (place: object) =>
      parameterCount(new T5Model({ ...models['two layers and two, tied, dropout'], ctx: describedPlace(place) }));
    const stages = [0, 1, 2, 3].map((rank) => countOf({ pipelineModelParallelSize: 4, rank }));
    expect(stages.reduce((sum, count) => sum + count, 0)).toBe(countOf({}));
  });
});
