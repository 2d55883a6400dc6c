/** Shapes of a training step that is measured; the peer gets the same as JSON. */
export interface GptSizes {
  /** Features of the residual stream. */
  readonly hidden: number;
  /** Layers. */
  readonly layers: number;
  /** Attention heads. */
  readonly heads: number;
  /** Tokens of the vocabulary. */
  readonly vocab: number;
  /** Tokens of a sequence. */
  readonly seq: number;
  /** Sequences of a step. */
  readonly batch: number;
}

/** Models by the name on the command line. */
export const gptSizes: Readonly<Record<string, GptSizes>> = {
  tiny: { hidden: 64, layers: 2, heads: 4, vocab: 512, seq: 64, batch: 4 },
  small: { hidden: 256, layers: 6, heads: 8, vocab: 8192, seq: 256, batch: 8 },
};

/** Floating-point operations of the matrix products of one step, forward and backward, the whole attention counted. */
export function flopsOf({ hidden, layers, vocab, seq, batch }: GptSizes): number {
  const weights = 12 * layers * hidden ** 2 + vocab * hidden;
  return batch * seq * (6 * weights + 12 * layers * hidden * seq);
}
