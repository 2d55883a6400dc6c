// An operation with its own backward, checked against central differences, in a layer of one's own.
//   npx megatron-ts run examples/02-own-layer.ts
import { Adam, defineOp, initializeModelParallel, Module, mseLoss, Parameter, type Tensor, tensor } from '@megatron-ts/core';
import { gradCheck } from '@megatron-ts/core/testing';

/** y = x · sigmoid(scale · x), with one scale per channel (Swish, Ramachandran et al. 2017). */
const swish = defineOp({
  name: 'swish',
  forward(x: Tensor, scale: Tensor) {
    const gate = x.mul(scale).sigmoid(); // [b, h]
    return { output: x.mul(gate), saved: { x, scale, gate } };
  },
  backward(grad, { x, scale, gate }) {
    const slope = gate.mul(gate.mul(-1).add(1)); // sigmoid'(scale · x): [b, h]
    const dx = grad.mul(gate.add(x.mul(scale).mul(slope))); // [b, h]
    const dScale = grad.mul(x.mul(x)).mul(slope).sum(0); // [h]
    return [dx, dScale];
  },
});

/** A layer that learns how sharp its gate is. */
class Swish extends Module {
  readonly scale: Parameter;

  constructor(hiddenSize: number) {
    super();
    this.scale = new Parameter({ shape: [hiddenSize], init: { kind: 'ones' } });
  }

  forward(x: Tensor): Tensor {
    return swish(x, this.scale);
  }
}

const values = (count: number, seed: number) => Float32Array.from({ length: count }, (_, i) => Math.sin(i * 1.7 + seed));
const { maxError } = gradCheck((x, scale) => swish(x, scale).sum(), [tensor(values(12, 1), [3, 4]), tensor(values(4, 2), [4])]);
console.log(`swish: gradients differ from central differences by at most ${maxError.toExponential(1)}`);

await using ctx = await initializeModelParallel({ seed: 7 });
const layer = new Swish(16).initialize(ctx);
const optimizer = new Adam(layer.parameters(), { lr: 0.05 });
const x = values(32 * 16, 3);
const target = x.map((value) => value / (1 + Math.exp(-3 * value))); // a scale of 3 is to be found
for (let n = 0; n < 200; n++) {
  const loss = ctx.step(n, () => {
    const l = mseLoss(layer.call(tensor(x, [32, 16])), tensor(target, [32, 16]));
    l.backward();
    optimizer.step();
    return l.item();
  });
  if (n % 40 === 0 || n === 199) console.log(`step ${n} loss ${loss.toExponential(2)}`);
}
console.log(`scale ${layer.scale.toArray()[0]?.toFixed(2) ?? ''} (3 was hidden in the data)`);
