import { type Action, computeParts } from './action.ts';

/** What a computation does to the activations a stage holds: each half of a backward pass frees half of them. */
const change = { forward: 1, backward: -1, backwardInput: -0.5, backwardWeight: -0.5 };

/**
 * The most activations a rank holds at once, in units of one stage's forward pass for one microbatch. A backward pass holds its
 * activations until it ends; so the forward of an overlapped pair counts before its backward frees. Without backward passes nothing is
 * kept beyond the pass itself.
 */
export function peakActivations(actions: readonly Action[], forwardOnly: boolean): number {
  if (forwardOnly) return actions.some((action) => action.kind !== 'exchange') ? 1 : 0;
  let live = 0;
  let peak = 0;
  for (const action of actions) {
    const changes = computeParts(action).map(({ kind }) => change[kind]);
    peak = Math.max(
      peak,
      changes.filter((by) => by > 0).reduce((sum, by) => sum + by, live),
    );
    live = changes.reduce((sum, by) => sum + by, live);
  }
  return peak;
}
