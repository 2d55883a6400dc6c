import { expectBitwise, expectClose, expectRelativeL2, runRanks } from '@megatron-ts/testing';
import { beforeAll, describe, expect, it } from 'vitest';
import type { Stored } from '../../tensor-parallel/test/ranks/observe.ts';
import { wholeTensors } from '../../tensor-parallel/test/whole-tensors.ts';
import { type LayoutName, layouts, type T5Name, type T5Step, type T5Steps } from './ranks/t5-layouts.ts';

let ranks: T5Steps[];

beforeAll(async () => {
  ranks = await runRanks<T5Steps>(8, new URL('ranks/t5-layouts.ts', import.meta.url), 't5Steps');
});

const because = 'tensor parallelism adds the products in another order';
const limits = { limit: 5e-6, because };
const names = Object.keys(layouts).filter((name) => name !== 'alone') as LayoutName[];
const models: readonly T5Name[] = ['T5, tied, ReLU', 'T5, gated, a head of its own, dropout'];

/** What the ranks of the first mesh of a layout saw. */
function stepsOf(name: T5Name, layout: LayoutName): T5Step[] {
  return ranks.slice(0, layouts[layout].tp).map((steps) => steps[name][layout] as T5Step);
}

function whole(steps: readonly T5Step[], pick: (step: T5Step) => Stored[]): Map<string, Float32Array> {
  return wholeTensors(steps.map(pick));
}

/** Rows that the ranks hold, one after another, or what each of them holds. */
function wholeRows(layout: LayoutName, steps: readonly T5Step[], pick: (step: T5Step) => Float32Array | undefined): Float32Array {
  const parts = steps.map((step) => pick(step) ?? new Float32Array(0));
  if (layouts[layout].sequenceParallel) return Float32Array.from(parts.flatMap((part) => [...part]));
  for (const part of parts) expectBitwise(part, parts[0] ?? []);
  return parts[0] ?? new Float32Array(0);
}

describe.each(['cross attention', ...models] as const)('%s', (name) => {
  it.each(names)('begins with the bits of one rank, and every gradient of a weight, gathered whole, is close to its: %s', (layout) => {
    const [alone, steps] = [stepsOf(name, 'alone'), stepsOf(name, layout)];
    const initial = whole(alone, (step) => step.initial);
    for (const [parameter, values] of whole(steps, (step) => step.initial)) expectBitwise(values, initial.get(parameter) ?? []);
    const [grads, own] = [whole(alone, (step) => step.grads), whole(steps, (step) => step.grads)];
    expect([...own.keys()].sort()).toEqual([...grads.keys()].sort());
    for (const [parameter, values] of own)
      if (parameter.endsWith('keyValue.bias.k'))
        expectClose(values, grads.get(parameter) ?? [], {
          atol: 1e-5,
          because: 'softmax ignores it, so that its gradient is rounding alone',
        });
      else expectRelativeL2(values, grads.get(parameter) ?? [], limits);
  });
});

describe('cross attention on several ranks', () => {
  it.each(names)('has an output and gradients of both sequences that are close to those of one rank: %s', (layout) => {
    const [[alone], steps] = [stepsOf('cross attention', 'alone'), stepsOf('cross attention', layout)];
    expectRelativeL2(
      wholeRows(layout, steps, ({ output }) => output),
      alone?.output ?? [],
      limits,
    );
    for (const input of [0, 1])
      expectRelativeL2(
        wholeRows(layout, steps, ({ inputGrads }) => inputGrads[input]),
        alone?.inputGrads[input] ?? [],
        limits,
      );
  });
});

describe.each(models)('%s, on several ranks', (name) => {
  it.each(names)('has losses and logits that are close to those of one rank, the same on every rank: %s', (layout) => {
    const [alone] = stepsOf(name, 'alone');
    for (const { output, logits } of stepsOf(name, layout)) {
      expectRelativeL2(output, alone?.output ?? [], limits);
      expectRelativeL2(logits[0] ?? [], alone?.logits[0] ?? [], limits);
    }
  });

  it.each(Object.keys(layouts) as LayoutName[])('what stands in padding of the encoder changes no bit of the logits: %s', (layout) => {
    for (const { logits } of stepsOf(name, layout)) expectBitwise(logits[1] ?? [], logits[0] ?? []);
  });
});

describe('T5, gated, stored in bf16', () => {
  // ReLU would not do: where it bends, a last bit turns a whole gradient on or off.
  const name = 'T5, gated, stored in bf16';
  const rounded = 'each rank rounds its summands to 8 bits';
  const gradsOf = (of: T5Name, layout: LayoutName) => whole(stepsOf(of, layout), (step) => step.grads);
  const inARow = (grads: ReadonlyMap<string, Float32Array>) =>
    Float32Array.from([...grads.keys()].sort().flatMap((parameter) => [...(grads.get(parameter) ?? [])]));

  it.each(names)(
    'begins with the bits of one rank, and is as close to it as 8 bits allow, in losses, logits and gradients: %s',
    (layout) => {
      const [alone, steps] = [stepsOf(name, 'alone'), stepsOf(name, layout)];
      const initial = whole(alone, (step) => step.initial);
      for (const [parameter, values] of whole(steps, (step) => step.initial)) expectBitwise(values, initial.get(parameter) ?? []);
      for (const { output, logits } of steps) {
        expectBitwise(output, steps[0]?.output ?? []);
        expectRelativeL2(output, alone[0]?.output ?? [], { limit: 5e-3, because: rounded });
        expectRelativeL2(logits[0] ?? [], alone[0]?.logits[0] ?? [], { limit: 1.5e-2, because: rounded });
        expectBitwise(logits[1] ?? [], logits[0] ?? []);
      }
      const grads = gradsOf(name, 'alone');
      for (const [parameter, values] of gradsOf(name, layout))
        expectRelativeL2(values, grads.get(parameter) ?? [], { limit: 6e-2, because: rounded });
    },
  );

  it.each(['alone', ...names] as const)('is not further from f32 than that: %s', (layout) => {
    const [exact, own] = [gradsOf('T5, gated, on one rank', 'alone'), gradsOf(name, layout)];
    expectRelativeL2(inARow(own), inARow(exact), { limit: 3e-2, because: 'weights and streams are rounded to 8 bits' });
    expect(inARow(own)).not.toEqual(inARow(exact));
  });
});
