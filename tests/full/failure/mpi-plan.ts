import { ranksFrom, type RunPlan, tiny } from '../../parity/run-plan.ts';

/** What a rank says of one fault. */
export interface Seen {
  /** When it came to the place of the fault, in milliseconds since 1970. */
  readonly from: number;
  /** When it was told; a rank that dies is told nothing. */
  readonly to?: number;
  readonly code?: string;
  readonly culprits?: unknown;
  readonly message?: string;
}

/** Two steps of a GPT on data 2 x tensor 2. */
export const trained: RunPlan = {
  ...tiny,
  name: 'trained',
  layout: { data: 2, pipeline: 1, tensor: 2 },
  ranks: ranksFrom(0, 4),
  steps: 2,
  gradientsAt: [1, 2],
};

/** The rank that is late, and the one that brings another size or dies. */
export const [tardy, culprit] = [3, 2];
