import { ShapeError } from '@megatron-ts/errors';
import {
  add,
  type AnyTensor,
  dropout,
  embedding,
  formatShape,
  type InitRule,
  Module,
  Parameter,
  sameShape,
  slice,
  type Tensor,
  whereInModel,
} from '@megatron-ts/tensor';
import type { Residual, VocabParallelEmbeddingOptions } from '@megatron-ts/tensor-parallel';
import { replicatedMeta, requireSizes } from '@megatron-ts/tensor-parallel';
import { firstTokenOf, type StreamLayout } from './first-token.ts';
import { GPTEmbedding } from './gpt-embedding.ts';
import { LayerNorm } from './layer-norm.ts';

/** Options of the embedding of a BERT model. */
export interface BertEmbeddingOptions<SP extends boolean> extends VocabParallelEmbeddingOptions<SP> {
  /** Most tokens of a sequence. */
  readonly maxSequenceLength: number;
  /** Kinds of token. */
  readonly numTokenTypes: number;
  /** How the tables are filled. */
  readonly init: InitRule;
  /** Whether a norm stands behind the sum. */
  readonly isNormed: boolean;
  /** Added to the variance in it. */
  readonly layerNormEps: number;
  /** Share of the elements that dropout leaves out; 0 by default. */
  readonly hiddenDropout?: number;
}

/** Words, learned positions and kinds of token: what the first stage begins with. */
export class BertEmbedding<SP extends boolean = false> extends Module {
  /** Words and positions. */
  readonly tokens: GPTEmbedding<SP>;
  /** `[numTokenTypes, h]`. */
  readonly tokenTypes: Parameter;
  /** Norm of the sum. */
  readonly norm: LayerNorm | undefined;
  private readonly layout: StreamLayout;
  private readonly hiddenDropout: number;

  /** @throws ConfigError INVALID_OPTION */
  constructor(options: BertEmbeddingOptions<SP>) {
    super();
    const { numTokenTypes, hiddenSize, init, tpGroup, sequenceParallel, paramDType, isNormed, layerNormEps: eps } = options;
    const { hiddenDropout = 0, ...words } = options;
    requireSizes('BertEmbedding', { numTokenTypes });
    this.tokens = new GPTEmbedding<SP>(words);
    const shape = [numTokenTypes, hiddenSize];
    this.tokenTypes = new Parameter({ shape, dtype: paramDType, init, meta: replicatedMeta(shape, sequenceParallel) });
    const norm = { hiddenSize, eps, sequenceParallel: sequenceParallel === true, paramDType };
    this.norm = isNormed ? new LayerNorm(norm) : undefined;
    this.layout = { tpGroup, sequenceParallel };
    this.hiddenDropout = hiddenDropout;
  }

  /**
   * `tokens` and their kinds (i32) `[s, b]`, of kind 0 by default, to `[s, b, h]`, or `[s / t, b, h]` under sequence parallelism.
   * @throws ShapeError SHAPE_MISMATCH
   */
  override forward(tokens: Tensor, tokenTypes?: AnyTensor): Tensor<Residual<SP>> {
    const words = this.tokens.call(tokens); // [s, b, h]
    const start = firstTokenOf(words, this.layout);
    const [rows = 0] = words.shape;
    const kinds: AnyTensor = this.kindsOf(tokens, tokenTypes, { start, end: start + rows }); // [s, b, h] or [h]
    const sum: Tensor<Residual<SP>> = add(words, kinds); // [s, b, h]
    const normed = this.norm === undefined ? sum : this.norm.call(sum); // [s, b, h]
    return dropout(normed, { p: this.hiddenDropout, firstToken: start });
  }

  private kindsOf(tokens: Tensor, tokenTypes: AnyTensor | undefined, rows: { readonly start: number; readonly end: number }): AnyTensor {
    if (tokenTypes === undefined) return slice(this.tokenTypes as Tensor, 0, { start: 0, end: 1 }); // [1, h]
    if (sameShape(tokenTypes.shape, tokens.shape)) return embedding(this.tokenTypes as Tensor, slice(tokenTypes, 0, rows)); // [s, b, h]
    const sentence =
      `${whereInModel('embedding')}: tokenTypes ${formatShape(tokenTypes.shape)} are not of the shape of tokens `
      + `${formatShape(tokens.shape)}. Give a kind for each token.`;
    throw new ShapeError('SHAPE_MISMATCH', sentence, { fields: { shape: tokenTypes.shape } });
  }
}
