import {
  Adam,
  DistributedDataParallel,
  forwardOnly,
  type GPTModel,
  oneForwardOneBackward,
  type ParallelContext,
  runSchedule,
  tensor,
} from '@megatron-ts/core';
import { gatherVocabulary } from '@megatron-ts/tensor-parallel';
import { type Batch, batchOf } from '../onnx-runtime.ts';

/** One step on any layout, so that no bias is zero and no scale is one. */
export function trainOnce(model: GPTModel, ctx: ParallelContext): void {
  const { vocabSize, maxSequenceLength } = model.config;
  const shape = [maxSequenceLength - (maxSequenceLength % ctx.tp.size), 2] as const;
  const wrapped = new DistributedDataParallel(model, { dpGroup: ctx.dp });
  const optimizer = new Adam(wrapped.parameters(), { lr: 0.05 });
  ctx.step(0, () => {
    runSchedule({
      ctx,
      schedule: oneForwardOneBackward({ numStages: ctx.pp.size, numMicrobatches: 1 }),
      chunks: [wrapped],
      microbatches: [
        { input: tensor(batchOf(shape, vocabSize).tokens, shape), targets: tensor(batchOf(shape, vocabSize - 3).tokens, shape) },
      ],
      lossOf: (output, { targets }) => model.lossOf(output, targets),
    });
    optimizer.step();
  });
}

/** The sharded model's own logits of the whole vocabulary, `[s, b, v]`, on its last stage; nothing on the others. */
export function forwardOf(model: GPTModel, ctx: ParallelContext, { tokens, shape }: Batch): Float32Array | undefined {
  let logits: Float32Array | undefined;
  ctx.step(1, () => {
    const forward = forwardOnly({ numStages: ctx.pp.size, numMicrobatches: 1 });
    const lossOf: Parameters<typeof runSchedule>[0]['lossOf'] = (output) => {
      const whole = gatherVocabulary(output, model.config, ctx.tp); // [s, b, v]
      logits = whole.toArray();
      return { sum: whole.sum(), count: 1 };
    };
    runSchedule({ ctx, schedule: forward, chunks: [model], microbatches: [tensor(tokens, shape)], lossOf, forwardStep: plainCall });
  });
  return logits;
}

const plainCall: NonNullable<Parameters<typeof runSchedule>[0]['forwardStep']> = (chunk, input) => (chunk as GPTModel).call(input);
