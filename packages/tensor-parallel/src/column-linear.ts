import { allGather, allReduce, type ProcessGroup, reduceScatter, type Work } from '@megatron-ts/process-groups';
import { type AnyTensor, type ComputeOptions, engine, linear, linearProducts, Tensor } from '@megatron-ts/tensor';
import { record, type Replicated, samePlacement, weightGradientsFollow, whereInModel } from '@megatron-ts/tensor';
import type { HiddenShard } from './mappings.ts';

/** What a column-parallel product needs beside input and weight. */
export interface ColumnLinearOptions extends ComputeOptions {
  /** `[outputSize / t]`; none by default. */
  readonly bias?: AnyTensor | undefined;
  /** Ranks that share the weight. */
  readonly tpGroup: ProcessGroup;
  /** Whether the input is cut along the sequence. */
  readonly sequenceParallel: boolean;
}

/**
 * `x · weightᵀ + bias` for parameters cut by output features, the conjugate mapping of its input included. In backward communication goes
 * on beside products: the input gradient is reduced while the weight gradient is computed, and under sequence parallelism, where only this
 * rank's rows of the input are saved, they are gathered again while the input gradient is computed. With deferred weight gradients
 * there is nothing to compute beside, and the sum is waited for at once. Bits are those of the mapping and `linear` one after the other.
 * @source Shoeybi et al. 2019, section 3; Korthikanti et al. 2022, section 4.2.2
 */
export function columnLinear(x: AnyTensor, weight: AnyTensor, options: ColumnLinearOptions): Tensor<HiddenShard> {
  const { bias, tpGroup: group, sequenceParallel, computeDType } = options;
  if (group.size === 1) return linear(x, weight, bias, { computeDType }) as AnyTensor;
  const gatherLabel = whereInModel('allGather');
  const gather = (): Work<AnyTensor> => allGather(x, { group, label: gatherLabel });
  const whole = asWhole(sequenceParallel ? gather().wait() : x); // [s, b, h]
  const products = linearProducts(whole, weight, { bias, computeDType });
  const gathersAgain = sequenceParallel && weight.requiresGrad;
  let gathered: AnyTensor | undefined;
  const reduced = (grad: AnyTensor): Work<AnyTensor> =>
    sequenceParallel
      ? reduceScatter(grad, { group, label: whereInModel('reduceScatter') }) // [s / t, b, h]
      : allReduce(grad, { group, label: whereInModel('allReduce') }); // [s, b, h]
  return record(products.output(whole), {
    op: 'columnLinear',
    inputs: bias === undefined ? [x, weight] : [x, weight, bias],
    saved: weight.requiresGrad ? [x, weight] : [weight],
    backward: (grad) => {
      const rows = gathersAgain && weightGradientsFollow() ? gather() : undefined;
      const reduction = x.requiresGrad ? reduced(products.inputGrad(grad)) : undefined;
      gathered = rows?.wait(); // [s, b, h]
      return () => [reduction?.wait() ?? null];
    },
    backwardWeight: (grad) => {
      const input = gathered ?? (gathersAgain ? gather().wait() : x); // [s, b, h]
      gathered = undefined;
      products.parameterGrads(grad, input);
    },
  });
}

/** The same memory as what every rank of the block reads. */
function asWhole(x: AnyTensor): Tensor<Replicated> {
  const { handle, numel, shape, dtype } = x;
  return samePlacement(new Tensor(engine.alias(handle, 0, numel), { shape, dtype, placement: 'replicated' }), x);
}
