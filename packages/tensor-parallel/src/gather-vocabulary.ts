import type { ProcessGroup } from '@megatron-ts/process-groups';
import { type AnyTensor, cat, slice, type Tensor, zeros } from '@megatron-ts/tensor';
import { gatherFromTensorParallelRegion, type VocabShard } from './mappings.ts';
import { type Vocabulary, vocabRange } from './vocab-range.ts';

/** Puts the ranks' columns of logits side by side, `[…, v / t]` to `[…, vocabSize]`, less what pads them. */
export function gatherVocabulary(logits: Tensor<VocabShard>, vocabulary: number | Vocabulary, tpGroup: ProcessGroup): Tensor {
  const ranges = tpGroup.ranks.map((_, rank) => vocabRange(vocabulary, tpGroup, rank));
  const widths = ranges.map(({ start, end }) => end - start);
  const widest = Math.max(...ranges.map(({ rows }) => rows));
  if (widths.every((width) => width === widest)) return gatherFromTensorParallelRegion(logits, tpGroup);
  const even = gatherFromTensorParallelRegion(widened(logits, widest), tpGroup); // […, t · widest]
  return cat(
    widths.map((width, rank) => slice(even, -1, { start: rank * widest, end: rank * widest + width })),
    -1,
  ); // […, vocabSize]
}

/** Logits with columns of zeros behind them. */
function widened(logits: Tensor<VocabShard>, width: number): Tensor<VocabShard> {
  const own = logits.shape.at(-1) ?? 0;
  if (own === width) return logits;
  const filler: AnyTensor = zeros([...logits.shape.slice(0, -1), width - own], logits.dtype);
  return cat([logits, filler], -1) as Tensor<VocabShard>; // […, width]
}
