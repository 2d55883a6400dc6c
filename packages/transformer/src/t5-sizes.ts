import { ConfigError } from '@megatron-ts/errors';
import { type InitRule, requireDropoutRates, requireLossOptions } from '@megatron-ts/tensor';
import { requireSizes } from '@megatron-ts/tensor-parallel';
import type { DecoderLayerOptions } from './decoder-layer.ts';
import { headDimOf } from './head-dim.ts';
import type { LayerNormModuleOptions } from './layer-norm.ts';
import { type LayerBlock, layerBlocks, recomputedPartsOf } from './recompute-plan.ts';
import type { RelativePositionBiasOptions } from './relative-position-bias.ts';
import type { T5ModelOptions } from './t5-options.ts';
import { t5PlaceOf } from './t5-place.ts';
import { tiedOver } from './tied-head.ts';

/** What a stage's part of a stack of a T5 model is made of. */
export interface T5StackOptions<SP extends boolean = false> {
  /** Number of layers over all stages. */
  readonly numLayers: number;
  /** Those of this stage, by their number; all by default. */
  readonly layers?: readonly number[];
  /** Their blocks; each by itself, and none run again, by default. */
  readonly blocks?: readonly LayerBlock[];
  /** Each layer. */
  readonly layer: DecoderLayerOptions<SP>;
  /** The last norm. */
  readonly norm: LayerNormModuleOptions;
  /** Biases by distance. */
  readonly buckets: Omit<RelativePositionBiasOptions, 'bidirectional'>;
}

/** A T5 model's settings as its parts want them. @throws ConfigError INVALID_OPTION, INDIVISIBLE */
export function t5SizesOf<SP extends boolean>(given: T5ModelOptions<SP>) {
  const { ctx, vocabSize, hiddenSize, numLayers, numDecoderLayers = numLayers, numAttentionHeads, sequenceParallel } = given;
  const { ffnHiddenSize = 4 * hiddenSize, activation = 'relu', tiedHead = true, initFactor = 1 } = given;
  const { labelSmoothing, zLoss, ignoreIndex = -100 } = given;
  const loss = { labelSmoothing, zLoss, ignoreIndex };
  const { hiddenDropout = 0, attentionDropout = 0, layerNormEps = 1e-6, paramDType, computeDType, numBuckets, maxDistance } = given;
  const model = 'T5Model';
  requireSizes(model, { hiddenSize, numLayers, numDecoderLayers, numAttentionHeads });
  requireDropoutRates(model, { hiddenDropout, attentionDropout });
  requireLossOptions(model, loss);
  if (!(initFactor >= 0)) throw new ConfigError('INVALID_OPTION', `${model}: initFactor is ${initFactor}. Use a number of at least 0.`);
  const place = t5PlaceOf(model, { ctx, numLayers, numDecoderLayers });
  const headDim = headDimOf(model, given);
  const drawn = (fanIn: number): InitRule => ({ kind: 'normal', std: initFactor / Math.sqrt(fanIn) });
  const shared = { tpGroup: ctx.tp, sequenceParallel, paramDType, computeDType };
  const widths = { hiddenSize, numAttentionHeads, headDim, ffnHiddenSize };
  const layer: DecoderLayerOptions<SP> = {
    ...shared,
    ...widths,
    activation,
    layerNormEps,
    hiddenDropout,
    attentionDropout,
    scale: 1,
    bias: false,
    normalization: 'rmsNorm',
    init: drawn(hiddenSize),
    queryInit: drawn(hiddenSize * headDim),
    outputInit: drawn(numAttentionHeads * headDim),
    mlpOutputInit: drawn(ffnHiddenSize),
    recompute: [...recomputedPartsOf(model, given.recompute)],
  };
  const held = (layers: readonly number[]) => ({ layers, blocks: layerBlocks(model, layers.length, given.recompute) });
  // Every stage holds both tables, used or not, so that their gradients are sums over the pipeline; the first stage's copies count.
  const copies = ctx.pp.size > 1 ? { sharedOver: 'pp', isPrimary: place.isFirst } : {};
  const stack = {
    layer,
    norm: { hiddenSize, eps: layerNormEps, sequenceParallel: sequenceParallel === true, paramDType },
    buckets: { numAttentionHeads, tpGroup: ctx.tp, init: drawn(hiddenSize), paramDType, numBuckets, maxDistance, ...copies },
  };
  return {
    vocabSize,
    loss,
    tiedHead,
    hiddenSize,
    words: { ...shared, vocabSize, hiddenSize, init: drawn(1) },
    place,
    tied: tiedHead ? tiedOver(ctx.pp.size, 'embedding.weight') : {},
    encoder: { ...stack, numLayers, ...held(place.encoder) },
    decoder: { ...stack, numLayers: numDecoderLayers, ...held(place.decoder) },
  };
}
