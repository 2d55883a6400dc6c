import { finalizeGrads, type ParallelContext } from '@megatron-ts/process-groups';
import type { Parameter } from '@megatron-ts/tensor';

/** Makes gradients ready for use: waits for those that are reduced elsewhere and finishes the others. Nothing to do the second time. */
export function finishGradients(parameters: readonly Parameter[], ctx: ParallelContext): void {
  for (const synchronizer of new Set(parameters.map((parameter) => parameter.synchronizer))) synchronizer?.finish();
  finalizeGrads(
    parameters.filter(({ synchronizer }) => synchronizer === undefined),
    { ctx },
  );
}
