import { initializeModelParallel, type ParallelContext } from '@megatron-ts/process-groups';
import { copyInto, linear, mseLoss, Module, Parameter, scope, type Tensor, tensor } from '@megatron-ts/tensor';

/** `x · weightᵀ + bias`: one parameter that decays and one that does not. */
export class Affine extends Module {
  readonly weight: Parameter;
  readonly bias: Parameter;

  constructor(size: number) {
    super();
    this.weight = new Parameter({ shape: [size, size], init: { kind: 'normal', std: 0.5 } });
    this.bias = new Parameter({ shape: [size], init: { kind: 'uniform', low: -1, high: 1 } });
  }

  override forward(x: Tensor): Tensor {
    return linear(x, this.weight, this.bias);
  }
}

/** Numbers that look random and are the same every time. */
export function wave(count: number, seed: number): Float32Array {
  return Float32Array.from({ length: count }, (_, i) => Math.sin(12.9898 * (i + 1) + 78.233 * seed) * 1.3);
}

/** A model of its own context. */
export async function affine(size: number): Promise<{ ctx: ParallelContext; model: Affine }> {
  const ctx = await initializeModelParallel();
  return { ctx, model: new Affine(size).initialize(ctx) };
}

/** One backward of a mean loss. */
export function backwardOnce(model: Affine, seed: number): void {
  scope(() => {
    const size = model.bias.numel;
    mseLoss(model.call(tensor(wave(3 * size, seed), [3, size])), tensor(wave(3 * size, seed + 0.5), [3, size])).backward();
  });
}

/** Gives a parameter the gradient `values`. */
export function setGrad(parameter: Parameter, values: Float32Array): void {
  scope(() => copyInto(parameter.gradTarget().tensor, tensor(values)));
}
