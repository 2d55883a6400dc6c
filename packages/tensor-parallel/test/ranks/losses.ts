import { initializeModelParallel, type ParallelContext } from '@megatron-ts/process-groups';
import { type AnyTensor, backward, cat, type CrossEntropyOptions, scope, slice, type Tensor, tensor } from '@megatron-ts/tensor';
import {
  copyToTensorParallelRegion,
  gatherVocabulary,
  vocabParallelCrossEntropy,
  vocabParallelLinearCrossEntropy,
  type VocabShard,
  vocabRange,
} from '@megatron-ts/tensor-parallel';
import { numbers } from './observe.ts';

/** One loss to compute, the same on every mesh. */
export interface LossCase {
  readonly vocabSize: number;
  readonly vocabMultiple: number | undefined;
  readonly tokens: number;
  readonly dtype: 'f32' | 'bf16';
  readonly options: CrossEntropyOptions;
  /** Whether all losses have one gradient. */
  readonly isEven: boolean;
  readonly targets: readonly number[];
}

/** What a mesh made of it; the gradient of the head's weight is this rank's rows. */
export interface LossRun {
  readonly losses: Float32Array;
  readonly logitGrads: Float32Array;
  readonly fused: Float32Array;
  readonly hiddenGrads: Float32Array;
  readonly weightGrads: Float32Array;
}

/** Each case on this rank alone, on pairs of ranks and on all four. */
export interface Losses {
  readonly runs: Readonly<Record<1 | 2 | 4, readonly LossRun[]>>;
}

const hiddenSize = 6;

/** Runs the cases on three meshes of a world of four. */
export async function losses(cases: readonly LossCase[]): Promise<Losses> {
  await using all = await initializeModelParallel({ tensorModelParallelSize: 4 });
  await using pairs = await initializeModelParallel({ tensorModelParallelSize: 2 });
  await using alone = await initializeModelParallel({ ranks: [all.world.ranks[all.world.rank] ?? 0] });
  const on = (ctx: ParallelContext) => cases.map((one) => run(ctx, one));
  return { runs: { 1: on(alone), 2: on(pairs), 4: on(all) } };
}

function run({ tp }: ParallelContext, { vocabSize, vocabMultiple, tokens, dtype, options, isEven, targets }: LossCase): LossRun {
  const vocabulary = { vocabSize, vocabMultiple };
  return scope(() => {
    const to = () => tensor(Int32Array.from(targets), [tokens, 1]);
    const { start, end, rows } = vocabRange(vocabulary, tp);
    const padding = rows - (end - start);
    const grad = tensor(isEven ? new Float32Array(tokens).fill(0.75) : numbers(tokens, 5), [tokens, 1]);
    const logits = slice(tensor(wide(tokens * vocabSize, 4), [tokens, 1, vocabSize]), -1, { start, end });
    const filler = tensor(new Float32Array(tokens * padding).fill(NaN), [tokens, 1, padding]); // never read
    const leaf = cat([logits, filler], -1).to(dtype).detach() as AnyTensor as Tensor<VocabShard>;
    leaf.requiresGrad = true;
    const plain = vocabParallelCrossEntropy(leaf, to(), tp, { ...vocabulary, ...options }); // [tokens, 1]
    backward([plain], [grad]);
    const hidden = tensor(numbers(tokens * hiddenSize, 6), [tokens, 1, hiddenSize], { requiresGrad: true });
    const own = new Float32Array(rows * hiddenSize);
    own.set(wide(vocabSize * hiddenSize, 7).subarray(start * hiddenSize, end * hiddenSize));
    const weight = tensor(own, [rows, hiddenSize], { requiresGrad: true }) as AnyTensor as Tensor<VocabShard>;
    const fused = vocabParallelLinearCrossEntropy(copyToTensorParallelRegion(hidden, tp), weight, to(), {
      tpGroup: tp,
      ...vocabulary,
      ...options,
    }); // [tokens, 1]
    backward([fused], [grad]);
    const logitGrads = gatherVocabulary((leaf.grad as AnyTensor).to('f32') as AnyTensor as Tensor<VocabShard>, vocabulary, tp);
    return {
      losses: floats(plain),
      logitGrads: floats(logitGrads),
      fused: floats(fused),
      hiddenGrads: floats(hidden.grad),
      weightGrads: floats(weight.grad).subarray(0, (end - start) * hiddenSize),
    };
  });
}

/** Logits and weights far enough apart for probabilities to differ. */
function wide(count: number, seed: number): Float32Array {
  return numbers(count, seed).map((value) => 5 * value);
}

function floats(x: AnyTensor | undefined): Float32Array {
  return Float32Array.from((x as AnyTensor).toArray() as Float32Array);
}
