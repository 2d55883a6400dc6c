// Our side of parts 3 and 6: trains a model on the CPU or on the device. It uses the built package, as anyone would.
import { writeFileSync } from 'node:fs';
import {
  Adam,
  captureStep,
  countParameters,
  deviceStats,
  GPTModel,
  initializeModelParallel,
  LlamaModel,
  mean,
  resetPeakMemory,
  scope,
  type Tensor,
  tensor,
} from '@megatron-ts/core';
import { answer } from './answer.ts';
import type { ModelSizes } from './models.ts';

interface Prepare {
  readonly sizes: ModelSizes;
  /** Parameters and activations; the optimizer's weights are f32. */
  readonly dtype: 'f32' | 'bf16';
  readonly device: string;
  /** Where the initial values of the parameters are written, f32 one after the other; nowhere when left out. */
  readonly file?: string;
}

/** As many different batches are trained on in turn. */
const batches = 4;

/** Steps as they are, and steps as one launch each. */
let step: Readonly<Record<'ours' | 'captured', () => number>> | undefined;

/** Tokens that both sides can compute: a linear congruential sequence. */
function textOf(number: number, { vocab, seq, batch }: ModelSizes): Int32Array {
  let state = number + 1;
  return Int32Array.from({ length: (seq + 1) * batch }, () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return (state >>> 8) % vocab;
  });
}

async function prepare({ sizes, dtype, device, file }: Prepare): Promise<object> {
  const ctx = await initializeModelParallel({ seed: 1234, device: device as 'cpu' });
  const model = modelOf(ctx, sizes, dtype);
  const parameters = model.parameters();
  const written = file === undefined ? [] : parameters.map((parameter) => Float32Array.from(parameter.toArray() as Float32Array));
  if (file !== undefined) writeFileSync(file, Buffer.concat(written.map(({ buffer }) => Buffer.from(buffer))));
  const settings = { lr: 3e-4, betas: [0.9, 0.95], weightDecay: 0.1, clipGradNorm: 1, noDecay: () => false } as const;
  const optimizer = new Adam(parameters, settings);
  const data = Array.from({ length: batches }, (_, number) => textOf(number, sizes)); // [s + 1, b] each
  const shape = [sizes.seq, sizes.batch];
  let n = 0;
  const inputs = () => {
    const text = data[(n - 1) % batches] as Int32Array; // n is the next step's number by then
    return [tensor(text.subarray(0, sizes.seq * sizes.batch), shape), tensor(text.subarray(sizes.batch), shape)] as const;
  };
  const body = (tokens: Tensor, targets: Tensor) => {
    const loss = mean(model.call(tokens, targets));
    loss.backward();
    optimizer.step();
    return loss;
  };
  const captured = ctx.device === 'cpu' ? undefined : captureStep(body, { ctx });
  step = {
    ours: () => ctx.step(n++, () => body(...inputs()).item()),
    captured: () => {
      if (captured === undefined) throw new Error('gpu-pack: the CPU has no graphs.');
      return scope(() => captured.run(n++, ...inputs()).item());
    },
  };
  return {
    device: ctx.device,
    names: parameters.map(({ name }) => name),
    shapes: parameters.map(({ shape }) => shape),
    parameters: countParameters(parameters).global,
  };
}

function modelOf(ctx: Awaited<ReturnType<typeof initializeModelParallel>>, sizes: ModelSizes, paramDType: 'f32' | 'bf16'): GPTModel {
  const { kind, hidden, layers, heads, keyHeads, ffn, vocab, seq } = sizes;
  const extents = { hiddenSize: hidden, numLayers: layers, numAttentionHeads: heads, ffnHiddenSize: ffn, vocabSize: vocab };
  const config = { ...extents, ctx, maxSequenceLength: seq, paramDType };
  return (kind === 'gpt' ? new GPTModel(config) : new LlamaModel({ ...config, numKeyValueHeads: keyHeads })).initialize(ctx);
}

await answer({
  prepare,
  steps: ({ count, mode }: { readonly count: number; readonly mode?: 'ours' | 'captured' }) => {
    const take = step?.[mode ?? 'ours'];
    if (take === undefined) throw new Error('gpu-pack: nothing is prepared.');
    const [losses, ms]: [number[], number[]] = [[], []];
    resetPeakMemory();
    for (let i = 0; i < count; i++) {
      const started = performance.now();
      losses.push(take()); // it reads the loss, which is computed before the update; the next step waits for that
      ms.push(performance.now() - started);
    }
    const { launches = 0, graphLaunches = 0, reads = 0, peakBytes = 0 } = deviceStats() ?? {};
    return { losses, ms, peakBytes, launches, graphLaunches, reads };
  },
});
