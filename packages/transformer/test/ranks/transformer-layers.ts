import { finalizeGrads, type GroupCounts, type ParallelContext, traced } from '@megatron-ts/process-groups';
import {
  type AnyTensor,
  backward,
  biasGelu,
  evaluate,
  linear,
  type Module,
  type Replicated,
  scope,
  slice,
  tensor,
} from '@megatron-ts/tensor';
import { tensorParallelRegion, vocabParallelWeight } from '@megatron-ts/tensor-parallel';
import {
  GPTModel,
  LanguageModelHead,
  MaskedLanguageHead,
  ParallelAttention,
  ParallelMLP,
  Pooler,
  TransformerLayer,
} from '@megatron-ts/transformer';
import {
  type Both,
  numbers,
  type Observed,
  observe,
  onBothMeshes,
  type Stored,
  stored,
} from '../../../tensor-parallel/test/ranks/observe.ts';

/** One step of a model. */
export interface ModelStep {
  readonly losses: Float32Array;
  readonly logits: Float32Array;
  readonly grads: Stored[];
  /** Collectives of the tensor-parallel group, forward and backward. */
  readonly counts: GroupCounts;
}

/** What a head did, by itself or as its mapping and its product one after the other. */
export interface HeadRun {
  /** Logits, gradients of input and of parameters. */
  readonly values: Float32Array[];
  /** What happened in backward, in the order of beginnings. */
  readonly order: readonly string[];
}

/** Blocks and models, shared by all ranks and whole. */
export interface TransformerLayers {
  readonly blocks: Record<'attention' | 'mlp' | 'layer' | 'sequence' | 'pooler' | 'sequence pooler', Both>;
  /** Heads without and with a cut sequence. */
  readonly heads: Record<string, { readonly own: HeadRun; readonly apart: HeadRun }>;
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
      heads: Object.fromEntries(
        [false, true].flatMap((isCut) => [
          [`language model, ${isCut}`, bothHeads(ctx, isCut, languageModelHead)],
          [`masked, ${isCut}`, bothHeads(ctx, isCut, maskedHead)],
        ]),
      ),
      models: {
        plain: { sharded: modelStep(ctx, false), whole: modelStep(alone, false) },
        sequence: { sharded: modelStep(ctx, true), whole: modelStep(alone, false) },
      },
    };
  });
}

interface Head {
  readonly module: Module;
  readonly own: (x: AnyTensor) => AnyTensor;
  /** The head as its mapping and its product one after the other. */
  readonly apart: (x: AnyTensor) => AnyTensor;
}

function languageModelHead(ctx: ParallelContext, sequenceParallel: boolean): Head {
  const { tp: tpGroup } = ctx;
  const weight = vocabParallelWeight({ vocabSize: 13, hiddenSize: 16, tpGroup });
  const module = new LanguageModelHead<boolean>({ weight, tpGroup, vocabSize: 13, sequenceParallel });
  const { enter } = tensorParallelRegion<boolean>(tpGroup, sequenceParallel);
  return { module, own: (x) => module.call(x), apart: (x) => linear(enter(x), weight as AnyTensor) };
}

function maskedHead(ctx: ParallelContext, sequenceParallel: boolean): Head {
  const { tp: tpGroup } = ctx;
  const weight = vocabParallelWeight({ vocabSize: 13, hiddenSize: 16, tpGroup });
  const sizes = { vocabSize: 13, hiddenSize: 16, init: { kind: 'normal', std: 0.1 }, layerNormEps: 1e-5 } as const;
  const module = new MaskedLanguageHead<boolean>({ weight, tpGroup, ...sizes, sequenceParallel });
  const { enter } = tensorParallelRegion<boolean>(tpGroup, sequenceParallel);
  const { transform, transformBias, norm, bias } = module;
  const before = (x: AnyTensor): AnyTensor => norm.call(biasGelu<Replicated>(linear(x, transform), transformBias));
  return { module, own: (x) => module.call(x), apart: (x) => linear(enter(before(x)), weight as AnyTensor, bias as AnyTensor) };
}

function bothHeads(ctx: ParallelContext, sequenceParallel: boolean, make: (ctx: ParallelContext, sequenceParallel: boolean) => Head) {
  const run = (isOwn: boolean) => headRun(ctx, make(ctx, sequenceParallel), isOwn);
  return { own: run(true), apart: run(false) };
}

function headRun(ctx: ParallelContext, { module, own, apart }: Head, isOwn: boolean): HeadRun {
  module.initialize(ctx);
  return scope(() => {
    const x: AnyTensor = tensor(numbers(3 * 2 * 16), [3, 2, 16]);
    x.requiresGrad = true;
    const y = isOwn ? own(x) : apart(x);
    const { trace } = traced(ctx, () => backward([y], [tensor(numbers(y.numel, 7), y.shape)]));
    const spans = trace.traceEvents.filter(({ cat }) => ['backward', 'weight gradient', 'wait'].includes(cat ?? ''));
    const order = spans.sort((a, b) => (a.ts ?? 0) - (b.ts ?? 0)).map(({ name }) => name.replace(/ of .*/, ''));
    const grads = [x, ...module.parameters()].map(({ grad }) => grad?.toArray() as Float32Array);
    return { values: [y.toArray() as Float32Array, ...grads], order };
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
