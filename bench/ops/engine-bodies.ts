import { type AnyTensor, engine, Tensor } from '@megatron-ts/tensor';
import type { BodyOf } from './body.ts';

/** A tensor of what the engine made. */
function made(handle: number, shape: readonly number[], { dtype }: AnyTensor): AnyTensor {
  return new Tensor(handle, { shape, dtype, placement: 'replicated' });
}

/** `grad · weight`, as the backward of `linear` calls it. */
export const inputGradient: BodyOf = (inputs, { rows = 0, inputs: width = 0, outputs = 0 }) => {
  const [grad, weight] = [inputs.make([rows, outputs]), inputs.make([outputs, width], { scale: 0.02 })];
  const layout = Uint32Array.of(1, rows, width, outputs, 0, 0, 0, 0);
  return () => made(engine.matmul(grad.handle, weight.handle, layout), [rows, width], grad);
};

/** `gradᵀ · x` into gradient memory, as the backward of `linear` calls it. */
export const weightGradient: BodyOf = (inputs, { rows = 0, inputs: width = 0, outputs = 0 }) => {
  const [grad, x] = [inputs.make([rows, outputs]), inputs.make([rows, width])];
  const target = inputs.make([outputs, width], { dtype: 'f32' });
  const layout = Uint32Array.of(1, outputs, width, rows, 0, 0, 1, 0);
  return () => {
    engine.matmulInto(target.handle, grad.handle, x.handle, layout, false);
    return target;
  };
};

// Rate, betas, epsilon, decay, corrections of the first step, scale of the gradients, whether the decay is decoupled.
const firstStep = [3e-4, 0.9, 0.95, 1e-8, 0.1, 1 - 0.9, 1 - 0.95, 1, 1];

/** Passes over flat memory. */
export const engineBodies: Readonly<Record<string, BodyOf>> = {
  adamW: (inputs, { numel = 0 }) => {
    const [values, grad] = [inputs.make([numel]), inputs.make([numel])];
    const [mean, square] = [inputs.make([numel], { scale: 0 }), inputs.make([numel], { scale: 0 })];
    const hyper = inputs.given(firstStep);
    const handles = Uint32Array.from([values, grad, mean, square], ({ handle }) => handle);
    return () => {
      engine.adamW(handles, Uint32Array.of(hyper.handle));
      return values;
    };
  },
  sumSquares: (inputs, { numel = 0 }) => {
    const grad = inputs.make([numel]);
    const handles = Uint32Array.of(grad.handle);
    return () => {
      const squares = engine.sumSquares(handles);
      const norm = Math.sqrt(engine.resolveSum(squares));
      engine.release(squares);
      return norm;
    };
  },
  axpy: (inputs, { rows = 0, cols = 0 }) => {
    const [target, source] = [inputs.make([rows, cols]), inputs.make([rows, cols])];
    return () => {
      engine.axpy(target.handle, 1e-3, source.handle);
      return target;
    };
  },
  scaleInPlace: (inputs, { rows = 0, cols = 0 }) => {
    const target = inputs.make([rows, cols]);
    return () => {
      engine.scaleInPlace(target.handle, -1);
      return target;
    };
  },
  copy: (inputs, { rows = 0, cols = 0 }) => {
    const [target, source] = [inputs.make([rows, cols]), inputs.make([rows, cols])];
    return () => {
      engine.copyInto(target.handle, source.handle);
      return target;
    };
  },
  fill: (inputs, { rows = 0, cols = 0 }) => {
    const target = inputs.make([rows, cols]);
    return () => {
      engine.fill(target.handle, 0.5);
      return target;
    };
  },
};
