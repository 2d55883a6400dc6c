// A training loop in a process of its own: a JSON line with what memory did. Its garbage collector is called by nobody.
import { copyInto, linear, memoryStats, Module, mseLoss, noGrad, Parameter, scope, type Tensor, tensor } from '@megatron-ts/tensor';

class Perceptron extends Module {
  readonly up = new Parameter({ shape: [256, 64], init: { kind: 'normal', std: 0.1 } });
  readonly upBias = new Parameter({ shape: [256] });
  readonly down = new Parameter({ shape: [64, 256], init: { kind: 'normal', std: 0.1 } });

  forward(x: Tensor): Tensor {
    return linear(linear(x, this.up, this.upBias).gelu(), this.down);
  }
}

const model = new Perceptron().initialize({ seed: 5, device: 'cpu', coordinates: () => ({ size: 1, rank: 0 }) });
const inputs = Array.from({ length: 7 }, (_, n) => Float32Array.from({ length: 128 * 64 }, (_, i) => Math.sin(n * 31 + i)));

function step(n: number): number {
  return scope(() => {
    const x = tensor(inputs[n % inputs.length] ?? [], [128, 64]);
    const loss = mseLoss(model.call(x), x.abs());
    loss.backward();
    noGrad(() => {
      for (const parameter of model.parameters())
        if (parameter.grad !== undefined) copyInto(parameter, parameter.sub(parameter.grad.mul(0.1)));
    });
    model.zeroGrad();
    return loss.item();
  });
}

const at = () => {
  const { liveBytes, liveHandles, reservedBytes, systemCalls, byCategory } = memoryStats();
  return { liveBytes, liveHandles, reservedBytes, systemCalls, byCategory, residentBytes: process.memoryUsage.rss() };
};

const marks: Record<number, ReturnType<typeof at>> = {};
for (let n = 1; n <= 1000; n++) {
  const loss = step(n);
  if (!Number.isFinite(loss)) throw new Error(`step ${n}: the loss is ${loss}`);
  if ([10, 300, 1000].includes(n)) marks[n] = at();
}
console.log(JSON.stringify(marks));
