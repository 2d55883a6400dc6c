import type { Parameter } from '@megatron-ts/tensor';
import { vocabParallelWeight, type VocabParallelWeightOptions, type VocabShard } from '@megatron-ts/tensor-parallel';

// Both ends of a pipeline draw the tied weight under this name, whatever the path of the model.
const tiedName = 'embedding.wordEmbeddings.weight';

/** How the two uses of a tied word embedding know of each other in a pipeline of so many stages, by the name of the first. */
export function tiedOver(stages: number, sharedName = tiedName): Pick<VocabParallelWeightOptions, 'sharedName' | 'sharedOver'> {
  return { sharedName, sharedOver: stages > 1 ? 'embedding' : undefined };
}

/** The head's weight where it is tied: a second use of `words` on one stage, a copy of it on two. */
export function tiedHeadWeight(words: Parameter<VocabShard> | undefined, options: VocabParallelWeightOptions): Parameter<VocabShard> {
  return words?.tie() ?? vocabParallelWeight({ ...options, isPrimary: options.sharedOver === undefined });
}
