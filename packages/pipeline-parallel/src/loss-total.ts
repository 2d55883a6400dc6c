import { ShapeError } from '@megatron-ts/errors';
import { allReduce, onHost, type ParallelContext } from '@megatron-ts/process-groups';
import { formatShape, type Loss, scope, tensor } from '@megatron-ts/tensor';

/**
 * Sum of losses and number of tokens. Sums of f32 numbers are exact in f64 at the sizes that losses have, so their order does not matter.
 */
export class LossTotal {
  private sum = 0;
  private count = 0;

  /** Adds one microbatch. @throws ShapeError NOT_A_SCALAR */
  add({ sum, count }: Loss): void {
    if (sum.numel !== 1)
      throw new ShapeError(
        'NOT_A_SCALAR',
        `runSchedule: lossOf returned a sum of shape ${formatShape(sum.shape)}. Reduce it to one number, for example with sum().`,
      );
    this.sum += sum.item();
    this.count += count;
  }

  /** The mean over all tokens of the step and their number, the same on every rank. */
  reduce(ctx: ParallelContext): { readonly loss: number; readonly numTokens: number } {
    return onHost(() =>
      scope(() => {
        const total = tensor(Float64Array.of(this.sum, this.count));
        for (const group of [ctx.pp, ctx.dpCp]) allReduce(total, { group, label: 'loss' }).wait();
        const [sum = 0, numTokens = 0] = total.toArray<'f64'>();
        return { loss: sum / Math.max(1, numTokens), numTokens };
      }),
    );
  }
}
