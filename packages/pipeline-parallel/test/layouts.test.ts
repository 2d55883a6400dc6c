import { expectBitwise, runRanks } from '@megatron-ts/testing';
import { beforeAll, describe, expect, it } from 'vitest';
import type { Layout, Outcome, Report } from './ranks/train-toy.ts';

const program = new URL('./ranks/train-toy.ts', import.meta.url);

// All contexts stand in one world of four ranks, over subsets of it.
const layouts = {
  one: { ranks: [0], pp: 1, schedule: '1f1b', microbatches: 4 },
  twoStages: { ranks: [0, 1], pp: 2, schedule: '1f1b', microbatches: 4 },
  fourStages: { ranks: [0, 1, 2, 3], pp: 4, schedule: '1f1b', microbatches: 4 },
  allForwardsFirst: { ranks: [2, 3], pp: 2, schedule: 'gpipe', microbatches: 4 },
  splitBackward: { ranks: [1, 3], pp: 2, schedule: 'split', microbatches: 4 },
  interleaved: { ranks: [0, 1], pp: 2, schedule: 'interleaved', microbatches: 4 },
  turning: { ranks: [2, 3], pp: 2, schedule: 'turning', microbatches: 4, tied: false },
  untied: { ranks: [1], pp: 1, schedule: '1f1b', microbatches: 4, tied: false },
  twoGroups: { ranks: [0], pp: 1, schedule: '1f1b', microbatches: 4, accumulationGroups: 2 },
  twoReplicas: { ranks: [1, 2], pp: 1, schedule: '1f1b', microbatches: 2 },
  twoReplicasOfTwoStages: { ranks: [0, 1, 2, 3], pp: 2, schedule: '1f1b', microbatches: 2 },
  fourGroups: { ranks: [3], pp: 1, schedule: '1f1b', microbatches: 8, accumulationGroups: 4 },
  fourReplicas: { ranks: [0, 1, 2, 3], pp: 1, schedule: '1f1b', microbatches: 2 },
} satisfies Record<string, Layout>;
type Name = keyof typeof layouts;

let byRank: Report[] = [];

beforeAll(async () => {
  byRank = await runRanks<Report>(4, program, 'trainUnder', { args: [Object.values(layouts)] });
}, 180_000);

function outcomes(name: Name): Outcome[] {
  const at = Object.keys(layouts).indexOf(name);
  return layouts[name].ranks.map((rank) => byRank[rank]?.outcomes[at] as Outcome);
}

function expectSameTraining(actual: Name, expected: Name): void {
  const [reference] = outcomes(expected) as [Outcome];
  const merged = new Map(outcomes(actual).flatMap(({ parameters }) => [...parameters]));
  const whole = new Map(outcomes(expected).flatMap(({ parameters }) => [...parameters]));
  for (const { steps, validation } of outcomes(actual))
    expect({ steps, validation }).toEqual({ steps: reference.steps, validation: reference.validation });
  expect([...merged.keys()].sort()).toEqual([...whole.keys()].sort());
  for (const [name, values] of whole) expectBitwise(merged.get(name) ?? [], values);
}

describe('training under every layout', () => {
  const pipelines: Name[] = ['twoStages', 'fourStages', 'allForwardsFirst', 'splitBackward', 'interleaved'];
  it.each(pipelines)('gives on %s the bits of one rank: losses, norms and parameters with a tied weight', (name) => {
    expectSameTraining(name, 'one');
  });

  it('gives the bits of one rank when the pipeline turns round and a rank hands over to itself', () => {
    expectSameTraining('turning', 'untied');
  });

  it('gives on two replicas the bits of one rank with two accumulation groups', () => {
    expectSameTraining('twoReplicas', 'twoGroups');
  });

  it('gives on two replicas of two stages the bits of one rank with two accumulation groups', () => {
    expectSameTraining('twoReplicasOfTwoStages', 'twoGroups');
  });

  it('gives on four replicas the bits of one rank with four accumulation groups', () => {
    expectSameTraining('fourReplicas', 'fourGroups');
  });

  it('learns, so that equal bits are not equal nothings', () => {
    const [{ steps }] = outcomes('one') as [Outcome];
    expect(steps.at(-1)?.loss).toBeLessThan(0.5 * (steps[0]?.loss ?? 0));
    expect(steps[0]?.numTokens).toBe(24);
  });

  it.each(Object.keys(layouts) as Name[])('holds memory level on every rank of %s', (name) => {
    expect(outcomes(name).map(({ grown }) => grown)).toEqual(layouts[name].ranks.map(() => 0));
  });
});

describe('what four replicas refuse', () => {
  const refusal = (index: number) => byRank[0]?.refusals[index] ?? '';

  it('is an optimizer whose gradients nobody sums', () => {
    expect(refusal(0)).toBe(
      'Adam: parameter "entry" is replicated over 4 data-parallel ranks, and nobody sums its gradient. Wrap the model in '
        + 'DistributedDataParallel first.',
    );
  });

  it('is a group of other ranks, or groups of microbatches in their place', () => {
    expect(refusal(1)).toBe(
      'DistributedDataParallel: dpGroup is tp [0], but the ranks that hold the same parameters are [0, 1, 2, 3]. Give ctx.dp.',
    );
    expect(refusal(2)).toBe(
      'DistributedDataParallel: accumulationGroups 2 stands for data-parallel ranks, and there are 4 of them. Leave it out.',
    );
  });

  it('is a schedule over a model whose gradients nobody sums', () => {
    expect(refusal(3)).toBe(
      'runSchedule: ToyStage is replicated over 4 data-parallel ranks, and nobody sums its gradients. Wrap it in DistributedDataParallel.',
    );
  });
});
