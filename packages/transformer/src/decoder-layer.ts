import { type AnyTensor, biasDropoutAdd, type InitRule, Module, requireDropoutRates, type Tensor } from '@megatron-ts/tensor';
import type { ProcessGroup } from '@megatron-ts/process-groups';
import type { LayerDTypes, Residual } from '@megatron-ts/tensor-parallel';
import { firstTokenOf, type StreamLayout } from './first-token.ts';
import type { LayerNorm } from './layer-norm.ts';
import { makeNorm, type Normalization } from './normalization.ts';
import { ParallelAttention } from './parallel-attention.ts';
import { type CrossAttentionInputs, ParallelCrossAttention } from './parallel-cross-attention.ts';
import { type Activation, ParallelMLP } from './parallel-mlp.ts';
import { type RecomputedPart, recomputedPartsOf } from './recompute-plan.ts';
import type { RMSNorm } from './rms-norm.ts';

/** Options of a layer of a decoder that looks at what an encoder made. */
export interface DecoderLayerOptions<SP extends boolean = false> extends LayerDTypes {
  /** Features of the residual stream. */
  readonly hiddenSize: number;
  /** Features of what the encoder made; hiddenSize by default. */
  readonly memorySize?: number | undefined;
  /** Heads over all ranks. */
  readonly numAttentionHeads: number;
  /** Features of a head; hiddenSize / numAttentionHeads by default. */
  readonly headDim?: number | undefined;
  /** Features inside the MLP; 4 · hiddenSize by default. */
  readonly ffnHiddenSize?: number;
  /** Factor of the scores; one over the square root of a head's features by default. */
  readonly scale?: number | undefined;
  /** What stands between the two layers of the MLP; `'gelu'` by default. */
  readonly activation?: Activation;
  /** Which norm; `'layerNorm'` by default. */
  readonly normalization?: Normalization;
  /** Share of the elements that dropout leaves out of what is added to the residual stream; 0 by default. */
  readonly hiddenDropout?: number;
  /** Share of the attention probabilities that dropout leaves out; 0 by default. */
  readonly attentionDropout?: number;
  /** Whether the linear layers have biases; true by default. */
  readonly bias?: boolean;
  /** Added to the variance in norms; 1e-5 by default. */
  readonly layerNormEps?: number;
  /** Ranks that share the layer. */
  readonly tpGroup: ProcessGroup;
  /** How weights are filled; normal with standard deviation 0.02 by default. */
  readonly init?: InitRule;
  /** How the rows of queries are filled; as `init` by default. */
  readonly queryInit?: InitRule | undefined;
  /** How the output projections are filled; as `init` by default. */
  readonly outputInit?: InitRule;
  /** How the second weight of the MLP is filled; as `outputInit` by default. */
  readonly mlpOutputInit?: InitRule | undefined;
  /** Whether the residual stream and what the encoder made are cut along their sequences; false by default. */
  readonly sequenceParallel?: SP | undefined;
  /** Parts whose results backward makes again instead of keeping, of both attentions; none by default. Gradients have the same bits. */
  readonly recompute?: readonly RecomputedPart[] | undefined;
}

/** What a layer of a decoder may be told of the tokens besides their features. */
export interface DecoderInputs extends CrossAttentionInputs {
  /** Added to the scores of this rank's heads in self-attention: f32 `[a / t, s, s]`; nothing by default. */
  readonly bias?: AnyTensor | undefined;
}

interface Addition {
  readonly residual: AnyTensor;
  readonly addedBias: AnyTensor | undefined;
  readonly site: string;
}

/**
 * Causal self-attention, attention to what an encoder made, and MLP, each behind a norm and added to the residual stream.
 * @source Vaswani et al. 2017, section 3.1; Raffel et al. 2020, section 2.1 (norms before)
 */
export class DecoderLayer<SP extends boolean = false> extends Module {
  /** Norm before self-attention. */
  readonly attentionNorm: LayerNorm | RMSNorm;
  /** Self-attention. */
  readonly attention: ParallelAttention<SP>;
  /** Norm before cross attention. */
  readonly crossAttentionNorm: LayerNorm | RMSNorm;
  /** Attention to what the encoder made. */
  readonly crossAttention: ParallelCrossAttention<SP>;
  /** Norm before the MLP. */
  readonly mlpNorm: LayerNorm | RMSNorm;
  /** The MLP. */
  readonly mlp: ParallelMLP<SP>;
  private readonly hiddenDropout: number;
  private readonly layout: StreamLayout;

  /** @throws ConfigError INDIVISIBLE, INVALID_OPTION */
  constructor(options: DecoderLayerOptions<SP>) {
    super();
    const { mlpOutputInit, normalization = 'layerNorm', layerNormEps, memorySize, ...rest } = options;
    const { hiddenSize, sequenceParallel = false, tpGroup, hiddenDropout = 0, attentionDropout = 0, paramDType } = rest;
    requireDropoutRates('DecoderLayer', { hiddenDropout, attentionDropout });
    const parts = recomputedPartsOf('DecoderLayer', options.recompute);
    const shared = { skipBiasAdd: true, ...rest, recomputeCore: parts.has('coreAttention'), recomputeActivation: parts.has('activation') };
    const norm = {
      hiddenSize,
      sequenceParallel,
      paramDType,
      recompute: parts.has('norm'),
      ...(layerNormEps === undefined ? {} : { eps: layerNormEps }),
    };
    this.attentionNorm = makeNorm(normalization, norm);
    this.attention = new ParallelAttention<SP>(shared);
    this.crossAttentionNorm = makeNorm(normalization, norm);
    this.crossAttention = new ParallelCrossAttention<SP>({ ...shared, memorySize });
    this.mlpNorm = makeNorm(normalization, norm);
    this.mlp = new ParallelMLP<SP>({ ...shared, ...(mlpOutputInit === undefined ? {} : { outputInit: mlpOutputInit }) });
    this.hiddenDropout = hiddenDropout;
    this.layout = { tpGroup, sequenceParallel };
  }

  /** `x` `[s, b, h]`, which looks at `memory` `[sk, b, memorySize]`, to its own shape. @throws ShapeError SHAPE_MISMATCH */
  override forward(x: Tensor<Residual<SP>>, memory: Tensor<Residual<SP>>, inputs: DecoderInputs = {}): Tensor<Residual<SP>> {
    const { attention, crossAttention, mlp } = this;
    const { bias, ...segments } = inputs;
    const own = attention.call(this.attentionNorm.call(x), { bias, segments: segments.querySegments }); // [s, b, h]
    const first = this.addAndNorm(own, this.crossAttentionNorm, {
      residual: x,
      addedBias: attention.projection.bias,
      site: 'attention',
    }); // [s, b, h] each
    const seen = crossAttention.call(first.normed, memory, segments); // [s, b, h]
    const second = this.addAndNorm(seen, this.mlpNorm, {
      residual: first.sum,
      addedBias: crossAttention.projection.bias,
      site: 'crossAttention',
    }); // [s, b, h] each
    return this.add(mlp.call(second.normed), { residual: second.sum, addedBias: mlp.down.bias, site: 'mlp' }); // [s, b, h]
  }

  /** The residual stream behind an attention, and its norm: one pass without dropout, else two. */
  private addAndNorm(x: AnyTensor, norm: LayerNorm | RMSNorm, addition: Addition): { readonly sum: AnyTensor; readonly normed: AnyTensor } {
    if (this.hiddenDropout === 0) return norm.call(x, addition);
    const sum = this.add(x, addition); // [s, b, h]
    return { sum, normed: norm.call(sum) };
  }

  private add(x: AnyTensor, { residual, addedBias, site }: Addition): AnyTensor {
    const dropout = { p: this.hiddenDropout, site, firstToken: firstTokenOf(residual, this.layout) };
    return biasDropoutAdd(x, addedBias, residual, dropout); // [s, b, h]
  }
}
