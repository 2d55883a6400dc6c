import type { ProcessGroup } from '@megatron-ts/process-groups';
import { add, type InitRule, Module, type Tensor } from '@megatron-ts/tensor';
import type { Residual } from '@megatron-ts/tensor-parallel';
import { LayerNorm } from './layer-norm.ts';
import { ParallelAttention } from './parallel-attention.ts';
import { ParallelMLP } from './parallel-mlp.ts';

/** Options of a transformer layer. */
export interface TransformerLayerOptions<SP extends boolean = false> {
  /** Features of the residual stream. */
  readonly hiddenSize: number;
  /** Heads over all ranks. */
  readonly numAttentionHeads: number;
  /** Features inside the MLP; 4 · hiddenSize by default. */
  readonly ffnHiddenSize?: number;
  /** Whether a token sees only itself and those before it; true by default. */
  readonly causal?: boolean;
  /** Whether the linear layers have biases; true by default. */
  readonly bias?: boolean;
  /** Added to the variance in norms; 1e-5 by default. */
  readonly layerNormEps?: number;
  /** Ranks that share the layer. */
  readonly tpGroup: ProcessGroup;
  /** How weights are filled; normal with standard deviation 0.02 by default. */
  readonly init?: InitRule;
  /** How the two output projections are filled; as `init` by default. */
  readonly outputInit?: InitRule;
  /** Whether the residual stream is cut along the sequence; false by default. */
  readonly sequenceParallel?: SP | undefined;
}

/**
 * Pre-norm transformer layer: attention and MLP, each added to the residual stream. Tensor parallelism costs two all-reduces forward and
 * two backward, or as many gathers and reduce-scatters under sequence parallelism.
 * @source Shoeybi et al. 2019, figure 4
 */
export class TransformerLayer<SP extends boolean = false> extends Module {
  /** Norm before attention. */
  readonly attentionNorm: LayerNorm;
  /** Self-attention. */
  readonly attention: ParallelAttention<SP>;
  /** Norm before the MLP. */
  readonly mlpNorm: LayerNorm;
  /** The MLP. */
  readonly mlp: ParallelMLP<SP>;

  /** @throws ConfigError INDIVISIBLE, INVALID_OPTION */
  constructor({ numAttentionHeads, causal, ffnHiddenSize, layerNormEps, ...shared }: TransformerLayerOptions<SP>) {
    super();
    const { hiddenSize, sequenceParallel = false } = shared;
    const norm = { hiddenSize, sequenceParallel, ...(layerNormEps === undefined ? {} : { eps: layerNormEps }) };
    this.attentionNorm = new LayerNorm(norm);
    this.attention = new ParallelAttention<SP>({ numAttentionHeads, ...(causal === undefined ? {} : { causal }), ...shared });
    this.mlpNorm = new LayerNorm(norm);
    this.mlp = new ParallelMLP<SP>({ ...(ffnHiddenSize === undefined ? {} : { ffnHiddenSize }), ...shared });
  }

  /** `x` `[s, b, h]` to the same shape. */
  override forward(x: Tensor<Residual<SP>>): Tensor<Residual<SP>> {
    const attended = add(x, this.attention.call(this.attentionNorm.call(x))); // [s, b, h]
    return add(attended, this.mlp.call(this.mlpNorm.call(attended))); // [s, b, h]
  }
}
