import { finalizeGrads, initializeModelParallel, type ParallelContext } from '@megatron-ts/process-groups';
import { type AnyTensor, backward, evaluate, scope, slice, type Tensor, tensor } from '@megatron-ts/tensor';
import { ParallelCrossAttention, T5Model } from '@megatron-ts/transformer';
import { numbers, type Stored, stored } from '../../../tensor-parallel/test/ranks/observe.ts';

/** What a layer or a model did on one layout, as this rank saw it. */
export interface T5Step {
  /** Output of the layer, this rank's rows under sequence parallelism, or losses of the model. */
  readonly output: Float32Array;
  /** Gradients of the inputs of the layer. */
  readonly inputGrads: readonly Float32Array[];
  readonly initial: Stored[];
  readonly grads: Stored[];
  /** Logits of the model with other padding. */
  readonly logits: readonly Float32Array[];
}

/** Layouts by name, of eight ranks; each runs on as many meshes side by side as there is room for. */
export const layouts = {
  alone: { tp: 1, sequenceParallel: false },
  'tp 2': { tp: 2, sequenceParallel: false },
  'tp 2, sequence parallel': { tp: 2, sequenceParallel: true },
  'tp 4': { tp: 4, sequenceParallel: false },
  'tp 4, sequence parallel': { tp: 4, sequenceParallel: true },
  'tp 8': { tp: 8, sequenceParallel: false },
  'tp 8, sequence parallel': { tp: 8, sequenceParallel: true },
} as const;

/** Names of layouts. */
export type LayoutName = keyof typeof layouts;

/** Names of what is run. */
export type T5Name =
  | 'cross attention'
  | 'T5, tied, ReLU'
  | 'T5, gated, a head of its own, dropout'
  | 'T5, gated, stored in bf16'
  | 'T5, gated, on one rank';

/** Everything that one rank saw. */
export type T5Steps = Record<T5Name, Partial<Record<LayoutName, T5Step>>>;

interface Place {
  readonly ctx: ParallelContext;
  readonly sequenceParallel: boolean;
}

const [queries, keys, batch] = [8, 16, 2];
const sizes = {
  vocabSize: 29,
  hiddenSize: 16,
  headDim: 4,
  numAttentionHeads: 8,
  ffnHiddenSize: 24,
  numLayers: 2,
  maxDistance: 6,
  numBuckets: 8,
};

/** One backward of everything on every layout. */
export async function t5Steps(): Promise<T5Steps> {
  const found: T5Steps = {
    'cross attention': {},
    'T5, tied, ReLU': {},
    'T5, gated, a head of its own, dropout': {},
    'T5, gated, stored in bf16': {},
    'T5, gated, on one rank': {},
  };
  const rank = Number(process.env['RANK'] ?? 0);
  for (const [layout, { tp, sequenceParallel }] of Object.entries(layouts)) {
    const first = rank - (rank % tp);
    const ranks = Array.from({ length: tp }, (_, i) => first + i);
    await using ctx = await initializeModelParallel({ ranks, tensorModelParallelSize: tp, seed: 5 });
    const place = { ctx, sequenceParallel };
    const dropout = { hiddenDropout: 0.2, attentionDropout: 0.2 };
    const gated = { activation: 'geglu', tiedHead: false, numDecoderLayers: 1, ...dropout } as const;
    found['cross attention'][layout as LayoutName] = crossAttentionStep(place);
    found['T5, tied, ReLU'][layout as LayoutName] = modelStep(new T5Model<boolean>({ ...sizes, ...place }), place);
    const smooth = { ...sizes, ...place, activation: 'geglu' } as const;
    found['T5, gated, stored in bf16'][layout as LayoutName] = modelStep(new T5Model<boolean>({ ...smooth, paramDType: 'bf16' }), place);
    if (tp === 1) found['T5, gated, on one rank'].alone = modelStep(new T5Model<boolean>(smooth), place);
    found['T5, gated, a head of its own, dropout'][layout as LayoutName] = modelStep(
      new T5Model<boolean>({ ...sizes, ...gated, ...place }),
      place,
    );
  }
  return found;
}

function rowsOf(seq: number, valueOf: (token: number, sample: number) => number): Tensor {
  const values = Int32Array.from({ length: seq * batch }, (_, i) => valueOf(Math.floor(i / batch), i % batch));
  return tensor(values, [seq, batch]);
}

/** The second sample of the encoder's, and the first of the decoder's, end in padding. */
function segmentsOf(): { readonly querySegments: Tensor; readonly keySegments: Tensor } {
  return {
    querySegments: rowsOf(queries, (token, sample) => (sample === 0 && token >= 6 ? -1 : 0)),
    keySegments: rowsOf(keys, (token, sample) => (sample === 1 && token >= 7 ? -1 : 0)),
  };
}

function crossAttentionStep({ ctx, sequenceParallel }: Place): T5Step {
  const { tp: tpGroup } = ctx;
  const options = { hiddenSize: 16, memorySize: 20, headDim: 6, numAttentionHeads: 8, tpGroup, sequenceParallel };
  const module = new ParallelCrossAttention<boolean>({ ...options, init: { kind: 'normal', std: 0.3 } }).initialize(ctx);
  const own = (whole: AnyTensor): AnyTensor => {
    const rows = (whole.shape[0] ?? 0) / tpGroup.size;
    return sequenceParallel ? slice(whole, 0, { start: tpGroup.rank * rows, end: (tpGroup.rank + 1) * rows }) : whole;
  };
  const filled = (shape: readonly number[], seed: number) =>
    own(
      tensor(
        numbers(
          shape.reduce((a, b) => a * b, 1),
          seed,
        ),
        shape,
      ),
    ).detach();
  const initial = stored(module, (parameter) => parameter);
  const seen = scope(() => {
    const inputs = [filled([queries, batch, 16], 1), filled([keys, batch, 20], 2)] as const;
    for (const input of inputs) input.requiresGrad = true;
    const out = module.call(inputs[0], inputs[1], segmentsOf()); // [sq, b, h]
    backward([out], [filled([queries, batch, 16], 3)]);
    finalizeGrads(module.parameters(), { ctx });
    const grads = stored(module, (parameter) => parameter.grad);
    const inputGrads = inputs.map(({ grad }) => grad?.toArray() as Float32Array);
    return { output: out.toArray() as Float32Array, inputGrads, grads, logits: [] };
  });
  module.dispose();
  return { ...seen, initial };
}

function modelStep(model: T5Model<boolean>, { ctx }: Place): T5Step {
  model.initialize(ctx);
  const initial = stored(model, (parameter) => parameter);
  const { querySegments: decoderSegments, keySegments: segments } = segmentsOf();
  const told = { segments, decoderSegments };
  const word = (shift: number) => (token: number, sample: number) => (7 * token * token + 3 * sample + shift) % sizes.vocabSize;
  const decoderTokens = rowsOf(queries, (token, sample) => (token === 0 ? 0 : word(5)(token - 1, sample)));
  const targets = rowsOf(queries, (token, sample) => (sample === 0 && token >= 6 ? -100 : word(5)(token, sample)));
  const padded = (shift: number) => rowsOf(keys, (token, sample) => (sample === 1 && token >= 7 ? word(shift) : word(0))(token, sample));
  const logits = [0, 11].map((shift) => evaluate(() => model.logits(padded(shift), decoderTokens, told).toArray() as Float32Array));
  const seen = ctx.step(0, () => {
    const losses = model.losses(model.call(padded(0), decoderTokens, told), targets); // [sd, b]
    losses.sum().backward();
    finalizeGrads(model.parameters(), { ctx });
    return { output: losses.toArray() as Float32Array, inputGrads: [], grads: stored(model, (parameter) => parameter.grad) };
  });
  model.dispose();
  return { ...seen, initial, logits };
}
