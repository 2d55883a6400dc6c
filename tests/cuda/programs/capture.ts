// Trains one small GPT again and again from the same values: step by step, and with steps that are captured. Prints what each training
// tells as one line of JSON. The argument says of which type the weights are: f32 or bf16.
import {
  Adam,
  captureStep,
  copyToHost,
  deviceStats,
  GPTModel,
  type HostCopy,
  initializeModelParallel,
  mean,
  type StepResult,
  tensor,
  type Tensor,
  warmupCosine,
} from '@megatron-ts/core';

const [seq, batch, vocabSize, numSteps, warmupSteps] = [8, 2, 32, 10, 2];
const text = Int32Array.from({ length: seq * batch + 8 * numSteps + seq }, (_, i) => (i * i * 7 + 3 * (i % 11)) % vocabSize);
const paramDType = process.argv[2] === 'bf16' ? 'bf16' : 'f32';

await using ctx = await initializeModelParallel({ seed: 1234 });

/** Without it, and in 16 bits, cuDNN computes attention. */
const attentionDropout = paramDType === 'bf16' ? 0 : 0.1;

/** A model and its step, of two microbatches with dropout, and every number that a step has. */
function training() {
  const sizes = { ctx, vocabSize, maxSequenceLength: seq, hiddenSize: 16, ffnHiddenSize: 32, numLayers: 2, numAttentionHeads: 2 };
  const model = new GPTModel({ ...sizes, paramDType, attentionDropout, hiddenDropout: 0.1 }).initialize(ctx);
  const lr = warmupCosine({ maxLr: 1e-2, minLr: 1e-3, warmupSteps: 2, totalSteps: numSteps });
  const optimizer = new Adam(model.parameters(), { lr, clipGradNorm: 0.5 });
  let last: StepResult | undefined;
  const body = (tokens: Tensor, targets: Tensor) => {
    const loss = mean(model.call(tokens, targets));
    loss.backward();
    last = optimizer.step();
    return { loss };
  };
  return { model, body, last: () => last };
}

/** Tokens of a step, and what follows each. */
const batchOf = (n: number): [Tensor, Tensor] => {
  const at = (start: number) => tensor(text.subarray(8 * n + start, 8 * n + start + seq * batch), [seq, batch]);
  return [at(0), at(batch)];
};

interface Told {
  readonly loss: number;
  readonly gradNorm: number | undefined;
  readonly lr: number | undefined;
}

const bitsOf = (parameters: readonly { toArray(): Float32Array }[]) => parameters.map((parameter) => [...parameter.toArray()]);

/** Runs all steps; numbers of a step are told while it runs, or one step later as their copies arrive. */
function steps(run: (n: number) => Told): Told[] {
  return Array.from({ length: numSteps }, (_, n) => run(n));
}

const plain = training();
const asTheyAre = steps((n) => {
  const loss = ctx.step(n, () => plain.body(...batchOf(n)).loss.item());
  return { loss, gradNorm: plain.last()?.gradNorm, lr: plain.last()?.lr };
});

const other = training();
const unused = deviceStats();
const step = captureStep(other.body, { ctx, warmupSteps });
const stats: ReturnType<typeof deviceStats>[] = [];
const captured = steps((n) => {
  const [tokens, targets] = batchOf(n);
  const { loss } = step.run(n, tokens, targets);
  tokens.dispose();
  targets.dispose();
  const told = { loss: loss.item(), gradNorm: other.last()?.gradNorm, lr: other.last()?.lr };
  stats.push(deviceStats());
  return told;
});

const values = [plain, other].map(({ model }) => bitsOf(model.parameters() as never));
const { isCaptured } = step;
step.dispose();
const disposed = deviceStats();

// Once more with a third model, reading only what has arrived: the numbers of a step are told a step later.
const third = training();
const ahead = captureStep(third.body, { ctx, warmupSteps });
const late: number[] = [];
const synchronizations: (number | undefined)[] = [];
let before: HostCopy | undefined;
for (let n = 0; n < numSteps; n++) {
  const [tokens, targets] = batchOf(n);
  const copy = copyToHost(ahead.run(n, tokens, targets).loss);
  tokens.dispose();
  targets.dispose();
  synchronizations.push(deviceStats()?.synchronizations);
  if (before !== undefined) late.push(before.item());
  before = copy;
}
if (before !== undefined) late.push(before.item());

values.push(bitsOf(third.model.parameters() as never));
console.log(JSON.stringify({ isCaptured, asTheyAre, captured, late, unused, stats, disposed, synchronizations, values }));
