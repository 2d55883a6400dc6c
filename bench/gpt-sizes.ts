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

/** Models by the name on the command line; `gpt2` has the 124 million parameters of GPT-2, its vocabulary padded to a multiple of 128. */
export const gptSizes = {
  tiny: { hidden: 64, layers: 2, heads: 4, vocab: 512, seq: 64, batch: 4 },
  small: { hidden: 256, layers: 6, heads: 8, vocab: 8192, seq: 256, batch: 8 },
  gpt2: { hidden: 768, layers: 12, heads: 12, vocab: 50304, seq: 512, batch: 2 },
} satisfies Readonly<Record<string, GptSizes>>;

/** The shapes of a model. @throws Error for a name that is none's */
export function gptSizesOf(model: string): GptSizes {
  const sizes: GptSizes | undefined = Object.entries(gptSizes).find(([name]) => name === model)?.[1];
  if (sizes !== undefined) return sizes;
  throw new Error(`bench: there is no model "${model}". Use ${Object.keys(gptSizes).join(', ')}.`);
}

/** Floating-point operations of the matrix products of one step, forward and backward, the whole attention counted. */
export function flopsOf({ hidden, layers, vocab, seq, batch }: GptSizes): number {
  const weights = 12 * layers * hidden ** 2 + vocab * hidden;
  return batch * seq * (6 * weights + 12 * layers * hidden * seq);
}
