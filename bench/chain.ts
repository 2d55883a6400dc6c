import { tensor, type Tensor } from '@megatron-ts/core';
import { engine } from '@megatron-ts/tensor';

/** Steps of the chain; each is a product, a sum and a hyperbolic tangent. */
export const links = 100;

/** Operations of one pass: three of each link, and the sum at the end. */
export const forwardOps = 3 * links + 1;

/** Operations that compute something in backward: of a link the product with the scale and the slope of tanh; of the sum its expansion. */
export const backwardOps = 2 * links + 1;

/** The input of the chain, which wants a gradient. */
export function chainInput(): Tensor {
  return tensor([0.1, -0.2, 0.3, -0.4], [1, 4], { requiresGrad: true });
}

/** A network of operations so small that only what surrounds them counts. */
export function chain(x: Tensor): Tensor {
  let y = x;
  for (let link = 0; link < links; link++) y = y.mul(0.9).add(0.1).tanh(); // [1, 4]
  return y.sum();
}

/** The engine's part of a step: the same calls over raw handles, without tensors, scopes or a tape. @returns the calls made */
export function engineCalls(x: Tensor): number {
  const saved: number[] = [];
  const spent: number[] = [];
  let handle = x.handle;
  for (let link = 0; link < links; link++) {
    const product = engine.binaryScalar(2, handle, 0.9, false);
    const sum = engine.binaryScalar(0, product, 0.1, false);
    handle = engine.unary(4, sum);
    saved.push(handle);
    spent.push(product, sum);
  }
  let grad = engine.filled(0, 4, 1);
  for (const y of saved.reverse()) {
    const slope = engine.unaryBackward(4, y, grad);
    spent.push(grad, slope);
    grad = engine.binaryScalar(2, slope, 0.9, false);
  }
  const all = Uint32Array.from([...saved, ...spent, grad]);
  engine.releaseMany(all, all.length);
  return forwardOps + backwardOps - 1;
}
