import { expectBitwise, expectClose, expectRelativeL2, runRanks } from '@megatron-ts/testing';
import { beforeAll, describe, expect, it } from 'vitest';
import type { Stored } from '../../tensor-parallel/test/ranks/observe.ts';
import { wholeTensors } from '../../tensor-parallel/test/whole-tensors.ts';
import { type LayoutName, layouts, type LayoutStep, type LayoutSteps, type ModelName, models } from './ranks/model-layouts.ts';

const size = 4;
let ranks: LayoutSteps[];

beforeAll(async () => {
  ranks = await runRanks<LayoutSteps>(size, new URL('ranks/model-layouts.ts', import.meta.url), 'layoutSteps', { args: [size] });
});

const because = 'tensor parallelism adds the products in another order';
const names = Object.keys(layouts).filter((name) => name !== 'alone') as LayoutName[];

/** What the ranks of the first mesh of a layout saw. */
function stepsOf(model: ModelName, layout: LayoutName): LayoutStep[] {
  const { tp, pp } = layouts[layout];
  return ranks.slice(0, tp * pp).map((steps) => steps[model][layout] as LayoutStep);
}

function whole(steps: readonly LayoutStep[], pick: (step: LayoutStep) => Stored[]): Map<string, Float32Array> {
  return wholeTensors(steps.map(pick));
}

describe.each(Object.keys(models) as ModelName[])('%s', (model) => {
  it('has each row of keys on one rank, or on several where there are fewer than ranks', () => {
    const parts = stepsOf(model, 'tp 4').map(({ initial }) => initial.find(({ name }) => name === 'layers.0.attention.qkv.weight'));
    const offsets = parts.map((part) => part?.logical[1]?.rectangles[0]?.globalOffset[0] ?? -1);
    const expected = { Llama: [0, 0, 4, 4], one: [0, 0, 0, 0] }[model.split(' ')[0] as string] ?? [0, 8, 16, 24];
    expect(offsets).toEqual(expected);
  });

  it.each(names)('begins with the bits of one rank, and is close to it in logits, loss, gradient norm and every gradient: %s', (layout) => {
    const [alone, steps] = [stepsOf(model, 'alone'), stepsOf(model, layout)];
    const initial = whole(alone, (step) => step.initial);
    for (const [name, values] of whole(steps, (step) => step.initial)) expectBitwise(values, initial.get(name) ?? []);
    for (const { loss, gradNorm, logits } of steps) {
      if (layouts[layout].pp === 1) expectRelativeL2(logits, alone[0]?.logits ?? [], { limit: 5e-6, because });
      expectClose([loss, gradNorm], [alone[0]?.loss ?? 0, alone[0]?.gradNorm ?? 0], { rtol: 2e-6, because });
    }
    const grads = whole(alone, (step) => step.grads);
    const own = whole(steps, (step) => step.grads);
    expect([...own.keys()].sort()).toEqual([...grads.keys()].sort());
    for (const [name, values] of own)
      if (name.endsWith('qkv.bias.k')) expectClose(values, grads.get(name) ?? [], { atol: 1e-5, because: 'softmax nearly ignores it' });
      else expectRelativeL2(values, grads.get(name) ?? [], { limit: 5e-6, because });
  });

  it('has the bits of one rank on two stages, and those of two tensor-parallel ranks on two stages of two', () => {
    for (const [pipelined, plain] of [
      ['pp 2', 'alone'],
      ['tp 2, pp 2', 'tp 2, sequence parallel'],
    ] as const)
      for (const pick of [(step: LayoutStep) => step.grads, (step: LayoutStep) => step.final]) {
        const expected = whole(stepsOf(model, plain), pick);
        for (const [name, values] of whole(stepsOf(model, pipelined), pick)) expectBitwise(values, expected.get(name) ?? []);
      }
  });

  it('keeps copies of a weight alike through a step of the optimizer, on every layout', () => {
    // Putting the ranks' weights together compares what several ranks hold, bit for bit.
    for (const layout of names) expect(whole(stepsOf(model, layout), (step) => step.final).size).toBeGreaterThan(0);
  });
});
