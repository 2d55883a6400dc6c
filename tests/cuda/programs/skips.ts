// Trains a toy whose gradients are not finite in some steps, on the device of MEGATRON_DEVICE: step by step, and on a device also with
// steps that are captured. Prints what each way tells as one line of JSON.
import {
  Adam,
  captureStep,
  initializeModelParallel,
  linear,
  mean,
  Module,
  Parameter,
  square,
  type StepResult,
  type Tensor,
  tensor,
  warmupCosine,
} from '@megatron-ts/core';

const numSteps = 16;
/** Single ones, several at a time, the first step and the one that is captured. */
const broken = new Set([0, 3, 6, 7, 8, 12]);

class Toy extends Module {
  readonly weight = new Parameter({ shape: [4, 8], init: { kind: 'uniform', low: -1, high: 1 } });
  override forward(x: Tensor): Tensor {
    return linear(x, this.weight); // [2, 4]
  }
}

await using ctx = await initializeModelParallel({ seed: 7 });

const inputOf = (n: number) =>
  tensor(
    Float32Array.from({ length: 16 }, (_, i) => (broken.has(n) && i === n % 16 ? Number.NaN : Math.sin(n + i))),
    [2, 8],
  );

function training() {
  const toy = new Toy().initialize(ctx);
  const lr = warmupCosine({ maxLr: 0.1, warmupSteps: 3, totalSteps: numSteps });
  const optimizer = new Adam(toy.parameters(), { lr, clipGradNorm: 1 });
  const results: StepResult[] = [];
  const body = (x: Tensor) => {
    mean(square(toy.call(x))).backward();
    results.push(optimizer.step());
  };
  return { toy, body, results };
}

const told = ({ gradNorm, skipped, lr }: StepResult) => ({ gradNorm, skipped, lr });
const bits = (toy: Toy) => [...toy.weight.toArray()];

/** Every result is looked at once it is there. */
const waiting = training();
const waited = Array.from({ length: numSteps }, (_, n) => {
  ctx.step(n, () => waiting.body(inputOf(n)));
  return told(waiting.results[n] as StepResult);
});

/** Nothing is looked at before the end: the device is always ahead. */
const trusting = training();
for (let n = 0; n < numSteps; n++) ctx.step(n, () => trusting.body(inputOf(n)));
const late = trusting.results.map(told);

const values = [bits(waiting.toy), bits(trusting.toy)];
if (ctx.device !== 'cpu') {
  const capturing = training();
  using step = captureStep(capturing.body, { ctx, warmupSteps: 3 });
  for (let n = 0; n < numSteps; n++) {
    using x = inputOf(n);
    step.run(n, x);
  }
  values.push(bits(capturing.toy));
}
console.log(JSON.stringify({ waited, late, values }));
