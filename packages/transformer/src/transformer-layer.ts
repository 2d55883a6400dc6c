import type { ProcessGroup } from '@megatron-ts/process-groups';
import { type Addends, biasDropoutAdd, type DropoutOptions, type InitRule, Module } from '@megatron-ts/tensor';
import { requireDropoutRates, type SumAndNorm, type Tensor } from '@megatron-ts/tensor';
import type { LayerDTypes, Residual } from '@megatron-ts/tensor-parallel';
import { firstTokenOf, type StreamLayout } from './first-token.ts';
import type { LayerNorm } from './layer-norm.ts';
import { makeNorm, type Normalization } from './normalization.ts';
import { type AttentionInputs, ParallelAttention } from './parallel-attention.ts';
import { type Activation, ParallelMLP } from './parallel-mlp.ts';
import { type RecomputedPart, recomputedPartsOf } from './recompute-plan.ts';
import type { RMSNorm } from './rms-norm.ts';
import type { RotaryOptions } from './rotary.ts';

/** Where norms stand. */
export type NormPlacement = 'pre' | 'post';

/** Options of a transformer layer. */
export interface TransformerLayerOptions<SP extends boolean = false> extends LayerDTypes {
  /** Features of the residual stream. */
  readonly hiddenSize: number;
  /** Heads over all ranks. */
  readonly numAttentionHeads: number;
  /** Features inside the MLP; 4 · hiddenSize by default. */
  readonly ffnHiddenSize?: number;
  /** Keys and values over all ranks; one for each head by default. */
  readonly numKeyValueHeads?: number | undefined;
  /** Features of a head; hiddenSize / numAttentionHeads by default. */
  readonly headDim?: number | undefined;
  /** Factor of the scores; one over the square root of a head's features by default. */
  readonly scale?: number | undefined;
  /** Turns queries and keys by their positions; not by default. */
  readonly rotary?: RotaryOptions | undefined;
  /** Whether each query and each key is normed; false by default. */
  readonly qkNorm?: boolean | undefined;
  /** Whether a token sees only itself and those before it; true by default. */
  readonly causal?: boolean;
  /** Keys that a causal query sees, its own the last; all by default. */
  readonly window?: number | undefined;
  /** What stands between the two layers of the MLP; `'gelu'` by default. */
  readonly activation?: Activation | undefined;
  /** Which norm; `'layerNorm'` by default. */
  readonly normalization?: Normalization | undefined;
  /**
   * Whether norms stand before attention and MLP (`'pre'`, the default), or behind each sum with the residual stream (`'post'`), as in the
   * first transformers.
   */
  readonly normPlacement?: NormPlacement | undefined;
  /** Share of the elements that dropout leaves out of what attention and MLP add to the residual stream; 0 by default. */
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
  /** How the two output projections are filled; as `init` by default. */
  readonly outputInit?: InitRule;
  /** How the second weight of the MLP is filled; as `outputInit` by default. */
  readonly mlpOutputInit?: InitRule | undefined;
  /** Whether the residual stream is cut along the sequence; false by default. */
  readonly sequenceParallel?: SP | undefined;
  /** Parts whose results backward makes again instead of keeping them; none by default. Gradients have the same bits. */
  readonly recompute?: readonly RecomputedPart[] | undefined;
}

type Stream<SP extends boolean> = Tensor<Residual<SP>>;

interface SiteAddends<SP extends boolean> extends Addends<Residual<SP>> {
  /** Tells the dropouts of a layer apart. */
  readonly site: string;
}

/**
 * Transformer layer: attention and MLP, each added to the residual stream. Tensor parallelism costs two all-reduces forward and
 * two backward, or as many gathers and reduce-scatters under sequence parallelism.
 * @source Shoeybi et al. 2019, figure 4; Vaswani et al. 2017, section 3.1 (norms behind the sums)
 */
export class TransformerLayer<SP extends boolean = false> extends Module {
  /** Norm before attention, or behind the sum with what it gives. */
  readonly attentionNorm: LayerNorm | RMSNorm;
  /** Self-attention. */
  readonly attention: ParallelAttention<SP>;
  /** Norm before the MLP, or behind the sum with what it gives. */
  readonly mlpNorm: LayerNorm | RMSNorm;
  /** The MLP. */
  readonly mlp: ParallelMLP<SP>;
  private readonly hiddenDropout: number;
  private readonly isPostNorm: boolean;
  private readonly layout: StreamLayout;

  /** @throws ConfigError INDIVISIBLE, INVALID_OPTION */
  constructor(options: TransformerLayerOptions<SP>) {
    super();
    const {
      numAttentionHeads,
      causal,
      window,
      ffnHiddenSize,
      activation,
      normalization = 'layerNorm',
      layerNormEps,
      mlpOutputInit,
      ...rest
    } = options;
    const { hiddenSize, sequenceParallel = false, tpGroup, hiddenDropout = 0, attentionDropout = 0, paramDType, normPlacement } = rest;
    requireDropoutRates('TransformerLayer', { hiddenDropout, attentionDropout });
    const parts = recomputedPartsOf('TransformerLayer', options.recompute);
    const shared = { skipBiasAdd: true, ...rest, recomputeCore: parts.has('coreAttention'), recomputeActivation: parts.has('activation') };
    const norm = {
      hiddenSize,
      sequenceParallel,
      paramDType,
      recompute: parts.has('norm'),
      ...(layerNormEps === undefined ? {} : { eps: layerNormEps }),
    };
    this.attentionNorm = makeNorm(normalization, norm);
    this.attention = new ParallelAttention<SP>({
      numAttentionHeads,
      window,
      layerNormEps,
      ...(causal === undefined ? {} : { causal }),
      ...shared,
    });
    this.mlpNorm = makeNorm(normalization, norm);
    const mlp = { ...(ffnHiddenSize === undefined ? {} : { ffnHiddenSize }), ...(activation === undefined ? {} : { activation }) };
    this.mlp = new ParallelMLP<SP>({ ...mlp, ...shared, ...(mlpOutputInit === undefined ? {} : { outputInit: mlpOutputInit }) });
    this.hiddenDropout = hiddenDropout;
    this.isPostNorm = normPlacement === 'post';
    this.layout = { tpGroup, sequenceParallel };
  }

  /** `x` `[s, b, h]` to the same shape. @throws ShapeError SHAPE_MISMATCH */
  override forward(x: Tensor<Residual<SP>>, inputs?: AttentionInputs): Tensor<Residual<SP>> {
    const { attentionNorm, attention, mlpNorm, mlp, isPostNorm } = this;
    const attended = attention.call(isPostNorm ? x : attentionNorm.call(x), inputs); // [s, b, h]
    const first = { residual: x, addedBias: attention.projection.bias, site: 'attention' };
    const { sum, normed } = this.addAndNorm(attended, isPostNorm ? attentionNorm : mlpNorm, first); // [s, b, h] each
    const second = { residual: isPostNorm ? normed : sum, addedBias: mlp.down.bias, site: 'mlp' };
    const changed = mlp.call(normed); // [s, b, h]
    return isPostNorm ? this.addAndNorm(changed, mlpNorm, second).normed : this.add(changed, second); // [s, b, h]
  }

  /** The residual stream behind attention or MLP, and its norm: one pass without dropout, else two. */
  private addAndNorm(x: Stream<SP>, norm: LayerNorm | RMSNorm, addends: SiteAddends<SP>): SumAndNorm<Residual<SP>> {
    const { residual, addedBias } = addends;
    if (this.hiddenDropout === 0) return norm.call(x, { residual, addedBias });
    const sum = this.add(x, addends); // [s, b, h]
    return { sum, normed: norm.call(sum) };
  }

  private add(x: Stream<SP>, { residual, addedBias, site }: SiteAddends<SP>): Stream<SP> {
    return biasDropoutAdd(x, addedBias, residual, this.dropoutOf(site, residual)); // [s, b, h]
  }

  private dropoutOf(site: string, stream: Tensor<Residual<SP>>): DropoutOptions {
    return { p: this.hiddenDropout, site, firstToken: firstTokenOf(stream, this.layout) };
  }
}
