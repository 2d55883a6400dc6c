import type { Action, ComputeKind } from './action.ts';

/** The time of one stage's work on one microbatch, in any unit; a list gives each stage its own. */
export type StageCost = number | readonly number[];

/** What each kind of action takes. */
export interface ScheduleCosts {
  /** 1 when left out. */
  readonly forward?: StageCost | undefined;
  /** The sum of its two halves when left out. */
  readonly backward?: StageCost | undefined;
  /** As a forward when left out. */
  readonly backwardInput?: StageCost | undefined;
  /** As a forward when left out. */
  readonly backwardWeight?: StageCost | undefined;
  /** From the sender's post to the receiver's use; 0 when left out. */
  readonly transfer?: number | undefined;
  /** Part of the shorter computation of an overlapped pair that costs nothing, 0 to 1; 0 when left out. */
  readonly overlap?: number | undefined;
}

/** How long an action keeps a rank busy; an exchange keeps none busy, it only waits. */
export function actionCost(action: Action, costs: ScheduleCosts): number {
  if (action.kind === 'exchange') return 0;
  if (action.kind !== 'overlap') return computeCost(action.kind, action.stage, costs);
  const [first, second] = action.parts.map((part) => computeCost(part.kind, part.stage, costs)) as [number, number];
  return first + second - (costs.overlap ?? 0) * Math.min(first, second);
}

function computeCost(kind: ComputeKind, stage: number, costs: ScheduleCosts): number {
  const given = costs[kind];
  if (given !== undefined) return typeof given === 'number' ? given : (given[stage] ?? 0);
  if (kind === 'forward') return 1;
  if (kind !== 'backward') return computeCost('forward', stage, costs);
  return computeCost('backwardInput', stage, costs) + computeCost('backwardWeight', stage, costs);
}
