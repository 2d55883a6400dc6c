import { type Action, type ExchangeAction, oneForwardOneBackward, type PipelineOptions, type Schedule } from '../src/index.ts';

/**
 * Plain 1F1B as one writes it first: each transfer is an exchange of its own, and a rank sends before it receives. It deadlocks on
 * rendezvous channels.
 */
export function singleSends({ numStages, numMicrobatches }: PipelineOptions): Schedule {
  const fused = oneForwardOneBackward({ numStages, numMicrobatches });
  const apart = (action: Action): readonly Action[] =>
    action.kind === 'exchange'
      ? action.transfers.map((transfer): ExchangeAction => ({ kind: 'exchange', transfers: [transfer] }))
      : [action];
  return { ...fused, name: '1f1b with single sends', ranks: fused.ranks.map((actions) => actions.flatMap(apart)) };
}
