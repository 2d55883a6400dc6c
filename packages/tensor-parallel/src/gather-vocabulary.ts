import type { ProcessGroup } from '@megatron-ts/process-groups';
import { type AnyTensor, cat, slice, type Tensor, zeros } from '@megatron-ts/tensor';
import { gatherFromTensorParallelRegion, type VocabShard } from './mappings.ts';
import { vocabRange } from './vocab-range.ts';

/** Puts the ranks' columns of logits side by side, `[…, v / t]` to `[…, vocabSize]`, also where the vocabulary does not divide. */
export function gatherVocabulary(logits: Tensor<VocabShard>, vocabSize: number, tpGroup: ProcessGroup): Tensor {
  const widths = tpGroup.ranks.map((_, rank) => vocabRange(vocabSize, tpGroup, rank)).map(({ start, end }) => end - start);
  const widest = Math.max(...widths);
  if (widths.every((width) => width === widest)) return gatherFromTensorParallelRegion(logits, tpGroup);
  const outer = logits.shape.slice(0, -1);
  const filler: AnyTensor = zeros([...outer, widest - (logits.shape.at(-1) ?? 0)], logits.dtype);
  const even = gatherFromTensorParallelRegion(cat([logits, filler], -1) as Tensor<VocabShard>, tpGroup); // […, t · widest]
  return cat(
    widths.map((width, rank) => slice(even, -1, { start: rank * widest, end: rank * widest + width })),
    -1,
  ); // […, vocabSize]
}
