import type { Module } from '@megatron-ts/tensor';

/** A model chunk that reduces its gradients itself, as DistributedDataParallel does; the pipeline's executor drives it. */
export interface GradientReducer {
  /** The chunk itself. */
  readonly module: Module;
  /** Announces how many microbatches each parameter's gradient is summed over before it is reduced. */
  beginStep(numMicrobatches: number): void;
  /** Waits for all reductions and finishes the gradients, dividing by `numTokens` where the loss is a sum. */
  finalizeGrads(options: { readonly numTokens?: number }): void;
}

/** Whether a model chunk reduces its gradients itself. */
export function isGradientReducer(value: object): value is GradientReducer {
  const candidate = value as Partial<GradientReducer>;
  return typeof candidate.beginStep === 'function' && typeof candidate.finalizeGrads === 'function';
}
