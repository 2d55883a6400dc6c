/**
 * The rules of computing alone: every stage meets every microbatch exactly once in each direction, at its seat, forwards before
 * backwards.
 */
import { type ComputeAction, computeParts, describeAction } from './action.ts';
import type { Schedule } from './schedule.ts';
import type { ScheduleProblem, ScheduleRule } from './schedule-problem.ts';
import { routeOf } from './stage-placement.ts';

/** A computation where it stands. */
interface Standing {
  readonly part: ComputeAction;
  readonly rank: number;
  readonly action: number;
}

/** Every broken rule of computing; communication is not looked at. */
export function computationProblems(schedule: Schedule): ScheduleProblem[] {
  const shape = shapeProblems(schedule);
  if (shape.length > 0) return shape;
  const standings = allStandings(schedule);
  const misplaced = standings.flatMap((standing) => seatProblem(schedule, standing) ?? []);
  if (misplaced.length > 0) return misplaced;
  const found = new Map<string, Standing[]>();
  for (const standing of standings) {
    const key = keyOf(standing.part.stage, standing.part.microbatch);
    found.set(key, [...(found.get(key) ?? []), standing]);
  }
  const problems: ScheduleProblem[] = [];
  for (let microbatch = 0; microbatch < schedule.numMicrobatches; microbatch++) {
    for (let stage = 0; stage < schedule.numStages; stage++) {
      const problem = meetingProblem(schedule, { stage, microbatch, standings: found.get(keyOf(stage, microbatch)) ?? [] });
      if (problem !== undefined) problems.push(problem);
    }
  }
  return problems;
}

const keyOf = (stage: number, microbatch: number): string => `${stage} ${microbatch}`;

function shapeProblems({ numRanks, numStages, numChunks, placement, ranks, peakActivations }: Schedule): ScheduleProblem[] {
  const problem = (sentence: string): ScheduleProblem[] => [{ rule: 'shape', rank: 0, action: 0, sentence }];
  if (ranks.length !== numRanks) return problem(`there are ${ranks.length} lists for ${numRanks} ranks. Give each rank one list.`);
  if (peakActivations.length !== numRanks)
    return problem(`there are ${peakActivations.length} peaks for ${numRanks} ranks. Give each rank one peak.`);
  const seats = placement.routes.flat();
  if (placement.routes.length === 0 || placement.routes.some((route) => route.length !== numStages)) {
    return problem(
      `the placement has routes of ${placement.routes.map((route) => route.length).join(', ')} stages for ${numStages}. `
        + 'Give each route every stage.',
    );
  }
  const outside = seats.find(({ rank, chunk }) => rank < 0 || rank >= numRanks || chunk < 0 || chunk >= numChunks);
  if (outside !== undefined)
    return problem(`the placement uses chunk ${outside.chunk} of rank ${outside.rank}, beyond ${numRanks} ranks of ${numChunks} chunks.`);
  if (new Set(seats.map(({ rank, chunk }) => `${rank} ${chunk}`)).size < seats.length)
    return problem('the placement uses a chunk for two stages. Give each its own.');
  return [];
}

function allStandings({ ranks }: Schedule): Standing[] {
  return ranks.flatMap((actions, rank) =>
    actions.flatMap((action, index) => computeParts(action).map((part) => ({ part, rank, action: index }))),
  );
}

function seatProblem(schedule: Schedule, { part, rank, action }: Standing): ScheduleProblem | undefined {
  const { stage, chunk, microbatch } = part;
  const seat = routeOf(schedule.placement, microbatch)[stage];
  if (microbatch >= 0 && microbatch < schedule.numMicrobatches && seat?.rank === rank && seat.chunk === chunk) return undefined;
  const belongs = seat === undefined ? 'no rank' : `chunk ${seat.chunk} of rank ${seat.rank}`;
  return {
    rule: 'shape',
    rank,
    action,
    sentence: `${describeAction(part)} stands in chunk ${chunk} of rank ${rank}, but belongs to ${belongs}.`,
  };
}

/**
 * One stage meets one microbatch: one forward, and one backward or both its halves, in this order. All stand on one rank, since a seat
 * has one.
 */
function meetingProblem(
  schedule: Schedule,
  { stage, microbatch, standings }: { stage: number; microbatch: number; standings: readonly Standing[] },
): ScheduleProblem | undefined {
  const { rank } = routeOf(schedule.placement, microbatch)[stage] as { rank: number };
  const kinds = standings.map(({ part }) => part.kind).join(' ');
  if (allowedMeetings(schedule.forwardOnly).includes(kinds)) return undefined;
  const problem = (rule: ScheduleRule, action: number, sentence: string): ScheduleProblem => ({ rule, rank, action, sentence });
  const what = `microbatch ${microbatch} on stage ${stage}`;
  const inOrder = standings.toSorted((a, b) => order.indexOf(a.part.kind) - order.indexOf(b.part.kind));
  if (allowedMeetings(schedule.forwardOnly).includes(inOrder.map(({ part }) => part.kind).join(' '))) {
    const late = standings.find((standing, index) => standing !== inOrder[index]) as Standing;
    return problem(
      'order',
      late.action,
      `${describeAction(late.part)} stands before ${describeAction((inOrder[0] as Standing).part)}. Put it behind.`,
    );
  }
  const twice = standings.find(({ part }, index) => standings.findIndex((other) => other.part.kind === part.kind) < index);
  if (twice !== undefined)
    return problem('complete', twice.action, `${describeAction(twice.part)} stands here a second time. Take one away.`);
  const wanted = schedule.forwardOnly ? 'exactly one forward' : 'exactly one forward and one backward (or its input and weight halves)';
  const at = standings.at(-1)?.action ?? schedule.ranks[rank]?.length ?? 0;
  return problem(
    'complete',
    at,
    `${what} has ${kinds === '' ? 'no computation' : `only ${kinds.replaceAll(' ', ' and ')}`}. It needs ${wanted}.`,
  );
}

const order = ['forward', 'backward', 'backwardInput', 'backwardWeight'];

function allowedMeetings(forwardOnly: boolean): readonly string[] {
  return forwardOnly ? ['forward'] : ['forward backward', 'forward backwardInput backwardWeight'];
}
