import { ShapeError } from '@megatron-ts/errors';
import { allReduce, onHost, type ParallelContext } from '@megatron-ts/process-groups';
import { type AnyTensor, formatShape, keep, type Loss, scope, tensor } from '@megatron-ts/tensor';

/**
 * Sum of losses and number of tokens. Sums of f32 numbers are exact in f64 at the sizes that losses have, so their order does not matter.
 * They are read at the end: who reads from a device waits for it.
 */
export class LossTotal {
  private readonly sums: AnyTensor[] = [];
  private count = 0;

  /** Adds one microbatch. @throws ShapeError NOT_A_SCALAR */
  add({ sum, count }: Loss): void {
    if (sum.numel !== 1)
      throw new ShapeError(
        'NOT_A_SCALAR',
        `runSchedule: lossOf returned a sum of shape ${formatShape(sum.shape)}. Reduce it to one number, for example with sum().`,
      );
    this.sums.push(keep(sum.detach()));
    this.count += count;
  }

  private read(): number {
    const sum = this.sums.reduce((total, one) => total + one.item(), 0);
    this.dispose();
    return sum;
  }

  /** Gives up what was added. */
  dispose(): void {
    for (const sum of this.sums.splice(0)) sum.release();
  }

  /** The mean over all tokens of the step and their number, the same on every rank. */
  reduce(ctx: ParallelContext): { readonly loss: number; readonly numTokens: number } {
    return onHost(() =>
      scope(() => {
        const total = tensor(Float64Array.of(this.read(), this.count));
        for (const group of [ctx.pp, ctx.dpCp]) allReduce(total, { group, label: 'loss' }).wait();
        const [sum = 0, numTokens = 0] = total.toArray<'f64'>();
        return { loss: sum / Math.max(1, numTokens), numTokens };
      }),
    );
  }
}
