// Trains a small model on the device of MEGATRON_DEVICE: a GPT, or with the argument `llama-bf16` one with everything that a GPT has not,
// in bf16. Prints the losses, what the device was asked for after each step, and what is refused, as one line of JSON.
import { Adam, add, deviceStats, exp, GPTModel, initializeModelParallel, mean, memoryStats, scope, tensor } from '@megatron-ts/core';

const [seq, batch, vocabSize] = [8, 2, 32];
const text = Int32Array.from({ length: (seq + 1) * batch }, (_, i) => (i * i * 7 + 3) % vocabSize);

/** The sentence of what `f` throws. */
function refusalOf(f: () => unknown): string {
  try {
    f();
    return 'nothing is refused';
  } catch (cause) {
    return (cause as Error).message;
  }
}

const onCpu = tensor([1, 2, 3]);
await using ctx = await initializeModelParallel({ seed: 1234 });
const refusals = [refusalOf(() => add(onCpu, tensor([1, 2, 3]))), refusalOf(() => exp(tensor([1, 2], [2], { dtype: 'f64' })))];
const sizes = { ctx, vocabSize, maxSequenceLength: seq, hiddenSize: 16, ffnHiddenSize: 32, numLayers: 2, numAttentionHeads: 2 };
const kinds = {
  gpt: { attentionDropout: 0.1, hiddenDropout: 0.1 },
  'llama-bf16': {
    paramDType: 'bf16',
    normalization: 'rmsNorm',
    activation: 'swiglu',
    rotary: {},
    bias: false,
    numKeyValueHeads: 1,
    tieWordEmbeddings: false,
  },
} as const;
const model = new GPTModel({ ...sizes, ...kinds[process.argv[2] === 'llama-bf16' ? 'llama-bf16' : 'gpt'] }).initialize(ctx);
const optimizer = new Adam(model.parameters(), { lr: 1e-2, clipGradNorm: 1 });
const steps = Array.from({ length: 4 }, (_, n) => {
  const loss = ctx.step(n, () => {
    const tokens = tensor(text.subarray(0, seq * batch), [seq, batch]);
    const targets = tensor(text.subarray(batch), [seq, batch]);
    const value = mean(model.call(tokens, targets));
    value.backward();
    optimizer.step();
    return value.item();
  });
  return { loss, device: deviceStats(), liveBytes: memoryStats().liveBytes };
});
const copied = scope(() => [...tensor([1.5, -2, 0.25]).toArray()]);
console.log(JSON.stringify({ device: ctx.device, refusals, steps, copied }));
