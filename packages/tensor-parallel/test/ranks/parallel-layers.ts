import type { ParallelContext, ProcessGroup } from '@megatron-ts/process-groups';
import { type AnyTensor, backward, Module, scope, slice, type Tensor, tensor } from '@megatron-ts/tensor';
import {
  ColumnParallelLinear,
  gatherVocabulary,
  RowParallelLinear,
  VocabParallelEmbedding,
  vocabParallelCrossEntropy,
  type VocabShard,
  vocabRange,
} from '@megatron-ts/tensor-parallel';
import { type Both, numbers, observe, onBothMeshes, type Run, type Stored } from './observe.ts';

/** A column-parallel and a row-parallel layer under sequence parallelism, which belong together. */
class SequencePair extends Module {
  up: ColumnParallelLinear<true>;
  down: RowParallelLinear<true>;

  constructor(tpGroup: ProcessGroup) {
    super();
    this.up = new ColumnParallelLinear({ inputSize: 12, outputSize: 20, tpGroup, sequenceParallel: true });
    this.down = new RowParallelLinear({ inputSize: 20, outputSize: 12, tpGroup, sequenceParallel: true });
  }

  forward(x: AnyTensor): AnyTensor {
    return this.down.call(this.up.call(x));
  }
}

/** What the vocabulary's layers did. */
export interface VocabularyResult {
  readonly rows: Float32Array;
  readonly embedding: Stored[];
  readonly losses: Float32Array;
  readonly logitGrads: Float32Array;
  readonly gathered: Float32Array;
  readonly counts: readonly number[];
}

/** Every layer, shared by all ranks and whole. */
export interface ParallelLayers {
  readonly linear: Record<'column' | 'gathered' | 'row' | 'scattered' | 'sequence', Both>;
  readonly vocabulary: { readonly sharded: VocabularyResult; readonly whole: VocabularyResult };
}

/** All layers on two meshes; `tp` ranks share them on the first. */
export async function parallelLayers(tp: number): Promise<ParallelLayers> {
  return onBothMeshes(tp, (ctx, alone) => {
    const both = (build: (group: ProcessGroup) => Module, run: Run, shardedRun = run): Both => ({
      sharded: observe(build(ctx.tp), ctx, shardedRun),
      whole: observe(build(alone.tp), alone, run),
    });
    const own = (dim: number) => (x: AnyTensor) => {
      const share = (x.shape.at(dim) ?? 0) / tp;
      return slice(x, dim, { start: ctx.tp.rank * share, end: (ctx.tp.rank + 1) * share });
    };
    const [toWide, toNarrow] = [
      { inputSize: 12, outputSize: 20 },
      { inputSize: 20, outputSize: 12 },
    ];
    const wide = { shape: [4, 3, 12], outputSize: 20 };
    const narrow = { shape: [4, 3, 20], outputSize: 12 };
    return {
      linear: {
        column: both((tpGroup) => new ColumnParallelLinear({ ...toWide, tpGroup }), wide, { ...wide, outputPart: own(-1) }),
        gathered: both((tpGroup) => new ColumnParallelLinear({ ...toWide, gatherOutput: true, tpGroup }), wide),
        row: both((tpGroup) => new RowParallelLinear({ ...toNarrow, tpGroup }), narrow, { ...narrow, part: own(-1), outputPart: (x) => x }),
        scattered: both((tpGroup) => new RowParallelLinear({ ...toNarrow, inputIsParallel: false, tpGroup }), narrow),
        sequence: both((tpGroup) => new SequencePair(tpGroup), { shape: [4, 3, 12] }, { shape: [4, 3, 12], part: own(0) }),
      },
      vocabulary: { sharded: vocabulary(ctx), whole: vocabulary(alone) },
    };
  });
}

const vocabSize = 11; // does not divide by two

function vocabulary(ctx: ParallelContext): VocabularyResult {
  const layer = new VocabParallelEmbedding({ vocabSize, hiddenSize: 6, tpGroup: ctx.tp }).initialize(ctx);
  const tokens = () => tensor(Int32Array.of(0, 10, 5, 6, 10, 3), [3, 2]);
  return scope(() => {
    const rows = layer.call(tokens()); // [3, 2, 6]
    backward([rows], [tensor(numbers(36), [3, 2, 6])]);
    const { start, end } = vocabRange(vocabSize, ctx.tp);
    const whole: AnyTensor = tensor(numbers(6 * vocabSize, 4), [3, 2, vocabSize]);
    const logits: Tensor<VocabShard> = slice(whole, -1, { start, end }).detach(); // [3, 2, 11 / t]
    logits.requiresGrad = true;
    ctx.tp.resetCounts();
    const losses = vocabParallelCrossEntropy(logits, tokens(), ctx.tp, { vocabSize }); // [3, 2]
    const forward = ctx.tp.counts().allReduce;
    backward([losses], [tensor(numbers(6, 5), [3, 2])]);
    const { name, shape, meta, grad } = layer.weight;
    return {
      rows: floats(rows),
      embedding: [{ name, shape, logical: meta.logical, values: floats(grad) }],
      losses: floats(losses),
      logitGrads: floats(gatherVocabulary(logits.grad as Tensor<VocabShard>, vocabSize, ctx.tp)),
      gathered: floats(gatherVocabulary(logits, vocabSize, ctx.tp)),
      counts: [forward, ctx.tp.counts().allReduce - forward],
    };
  });
}

function floats(x: AnyTensor | undefined): Float32Array {
  return (x?.toArray() ?? new Float32Array(0)) as Float32Array;
}
