import { remakeable, type Tensor, type Whole } from '@megatron-ts/tensor';

/** How a norm's result is made again. */
interface NormAgain<P extends Whole> {
  /** Whether it is. */
  readonly recompute: boolean;
  /** The norm. */
  readonly norm: (x: Tensor<P>) => Tensor<P>;
  /** What it is of. */
  readonly of: Tensor<P>;
}

/** `normed`, or what stands for it until backward makes it again from the norm's input. */
export function normAgain<P extends Whole>(normed: Tensor<P>, { recompute, norm, of }: NormAgain<P>): Tensor<P> {
  return recompute ? remakeable([normed] as const, { make: () => [norm(of)] as const, inputs: [of] })[0] : normed;
}
