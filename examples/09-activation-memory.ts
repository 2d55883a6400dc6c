// What a transformer layer keeps between its forward and its backward, measured on 1, 2 and 4 tensor-parallel ranks, beside the list of
// its tensors and the figure of Korthikanti et al. 2022, table 2.
//   npx megatron-ts run --ranks 4 examples/09-activation-memory.ts
import {
  type AnyTensor,
  initializeModelParallel,
  memoryStats,
  type ParallelContext,
  recompute,
  type RecomputedPart,
  savedActivations,
  TransformerLayer,
  zeros,
} from '@megatron-ts/core';

const [sequenceLength, batchSize, hiddenSize, numAttentionHeads] = [256, 1, 256, 8];
const unit = sequenceLength * batchSize * hiddenSize; // s · b · h

interface Setting {
  readonly words: string;
  readonly parts?: readonly RecomputedPart[];
  /** Whether backward runs the whole layer again. */
  readonly isFull?: boolean;
}

const settings: readonly Setting[] = [
  { words: 'nothing' },
  { words: 'attention', parts: ['coreAttention'] },
  { words: 'activation', parts: ['activation'] },
  { words: 'norms', parts: ['norm'] },
  { words: 'all three', parts: ['coreAttention', 'activation', 'norm'] },
  { words: 'the layer', isFull: true },
];

/** Bytes that a forward leaves for backward, the layer's input included. */
function measured(ctx: ParallelContext, sequenceParallel: boolean, { parts = [], isFull = false }: Setting): number {
  const sizes = { hiddenSize, numAttentionHeads, paramDType: 'bf16', hiddenDropout: 0.1, attentionDropout: 0.1 } as const;
  const layer = new TransformerLayer<boolean>({ ...sizes, sequenceParallel, recompute: parts, tpGroup: ctx.tp }).initialize(ctx);
  const rows = sequenceParallel ? sequenceLength / ctx.tp.size : sequenceLength;
  const bytes = ctx.step(0, () => {
    const x = zeros([rows, batchSize, hiddenSize], 'bf16') as AnyTensor;
    x.requiresGrad = true;
    const before = memoryStats().liveBytes;
    const y: AnyTensor = isFull ? recompute((input: AnyTensor) => layer.call(input), [x]) : layer.call(x);
    return memoryStats().liveBytes - before - y.bytes + x.bytes;
  });
  layer.dispose();
  return bytes;
}

/** The paper's figure over s · b · h, for bf16, dropout masks of a byte, and attention probabilities that are not kept. */
function paper(t: number, sequenceParallel: boolean, { parts = [], isFull = false }: Setting): string {
  if (isFull) return sequenceParallel ? (2 / t).toFixed(2) : '2.00';
  return parts.length > 0 ? '-' : (sequenceParallel ? 34 / t : 10 + 24 / t).toFixed(2);
}

const lines = [
  '| ranks | sequence cut | made again | bytes kept | on the list | over s · b · h | paper |',
  '| ---: | --- | --- | ---: | ---: | ---: | ---: |',
];
let isPrinting = false;
for (const tensorModelParallelSize of [1, 2, 4]) {
  await using ctx = await initializeModelParallel({ tensorModelParallelSize });
  isPrinting = ctx.world.rank === 0;
  for (const sequenceParallel of tensorModelParallelSize === 1 ? [false] : [false, true])
    for (const setting of settings) {
      const bytes = measured(ctx, sequenceParallel, setting);
      const sizes = { sequenceLength, batchSize, hiddenSize, numAttentionHeads, paramDType: 'bf16' } as const;
      const list = savedActivations({ ...sizes, tensorModelParallelSize, sequenceParallel, recompute: setting.parts ?? [] });
      const listed = setting.isFull === true ? (list[0]?.bytes ?? 0) : list.reduce((sum, tensor) => sum + tensor.bytes, 0);
      const cells = [tensorModelParallelSize, sequenceParallel ? 'yes' : 'no', setting.words, bytes, listed, (bytes / unit).toFixed(2)];
      lines.push(`| ${[...cells, paper(tensorModelParallelSize, sequenceParallel, setting)].join(' | ')} |`);
      if (bytes !== listed) process.exitCode = 1;
    }
}
if (isPrinting) console.log(lines.join('\n'));
