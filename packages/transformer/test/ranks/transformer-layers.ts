import { finalizeGrads, type GroupCounts, type ParallelContext } from '@megatron-ts/process-groups';
import { type AnyTensor, evaluate, scope, slice, tensor } from '@megatron-ts/tensor';
import { GPTModel, ParallelAttention, ParallelMLP, Pooler, TransformerLayer } from '@megatron-ts/transformer';
import { type Both, type Observed, observe, onBothMeshes, type Stored, stored } from '../../../tensor-parallel/test/ranks/observe.ts';

/** One step of a model. */
export interface ModelStep {
  readonly losses: Float32Array;
  readonly logits: Float32Array;
  readonly grads: Stored[];
  /** Collectives of the tensor-parallel group, forward and backward. */
  readonly counts: GroupCounts;
}

/** Blocks and models, shared by all ranks and whole. */
export interface TransformerLayers {
  readonly blocks: Record<'attention' | 'mlp' | 'layer' | 'sequence' | 'pooler' | 'sequence pooler', Both>;
  readonly models: Record<'plain' | 'sequence', { readonly sharded: ModelStep; readonly whole: ModelStep }>;
}

/** Everything on two meshes; `tp` ranks share it on the first. */
export async function transformerLayers(tp: number): Promise<TransformerLayers> {
  return onBothMeshes(tp, (ctx, alone) => {
    const run = { shape: [6, 2, 16] };
    const ownRows = (x: AnyTensor) => slice(x, 0, { start: (ctx.tp.rank * 6) / tp, end: ((ctx.tp.rank + 1) * 6) / tp });
    const sizes = { hiddenSize: 16, numAttentionHeads: 4 };
    const both = (f: (place: ParallelContext) => Observed): Both => ({ sharded: f(ctx), whole: f(alone) });
    const pooled = { ...run, outputShape: [2, 16], outputPart: (x: AnyTensor) => x };
    const on = ({ tp: tpGroup }: ParallelContext) => ({ ...sizes, tpGroup });
    return {
      blocks: {
        attention: both((place) => observe(new ParallelAttention(on(place)), place, run)),
        mlp: both((place) => observe(new ParallelMLP(on(place)), place, run)),
        layer: both((place) => observe(new TransformerLayer(on(place)), place, run)),
        sequence: {
          sharded: observe(new TransformerLayer({ ...on(ctx), sequenceParallel: true }), ctx, { ...run, part: ownRows }),
          whole: observe(new TransformerLayer(on(alone)), alone, run),
        },
        pooler: both((place) => observe(new Pooler(on(place)), place, pooled)),
        'sequence pooler': {
          sharded: observe(new Pooler<true>({ ...on(ctx), sequenceParallel: true }), ctx, { ...pooled, part: ownRows }),
          whole: observe(new Pooler(on(alone)), alone, pooled),
        },
      },
      models: {
        plain: { sharded: modelStep(ctx, false), whole: modelStep(alone, false) },
        sequence: { sharded: modelStep(ctx, true), whole: modelStep(alone, false) },
      },
    };
  });
}

function modelStep(ctx: ParallelContext, sequenceParallel: boolean): ModelStep {
  const sizes = { vocabSize: 13, maxSequenceLength: 8, hiddenSize: 16, numLayers: 2, numAttentionHeads: 4, initStd: 0.1 };
  const model = new GPTModel<boolean>({ ...sizes, sequenceParallel, ctx }).initialize(ctx);
  const tokens = (shift: number) =>
    tensor(
      Int32Array.from({ length: 12 }, (_, i) => (5 * i + shift) % 13),
      [6, 2],
    );
  const logits = evaluate(() => model.logits(tokens(0)).toArray() as Float32Array);
  return scope(() => {
    ctx.tp.resetCounts();
    const losses = model.call(tokens(0), tokens(5)); // [6, 2]
    model.lossOf(losses).sum.backward();
    const counts = ctx.tp.counts();
    finalizeGrads(model.parameters(), { ctx });
    return { losses: losses.toArray() as Float32Array, logits, grads: stored(model, (parameter) => parameter.grad), counts };
  });
}
