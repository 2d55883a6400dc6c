/** A model that is trained, as both sides are told it. */
export interface ModelSizes {
  /** GPT-2's architecture, or Llama's: RMS norms, rotated queries and keys, SwiGLU, no biases, a head of its own. */
  readonly kind: 'gpt' | 'llama';
  readonly hidden: number;
  readonly layers: number;
  readonly heads: number;
  /** Keys and values; as many as heads in a GPT. */
  readonly keyHeads: number;
  /** Features inside the MLPs. */
  readonly ffn: number;
  readonly vocab: number;
  readonly seq: number;
  /** Sequences of a step. */
  readonly batch: number;
}

type GptExtents = Pick<ModelSizes, 'hidden' | 'layers' | 'heads' | 'vocab' | 'seq' | 'batch'>;

const gpt = (sizes: GptExtents): ModelSizes => ({ kind: 'gpt', keyHeads: sizes.heads, ffn: 4 * sizes.hidden, ...sizes });

/** Whose losses part 3 compares. */
export const curveModel = gpt({ hidden: 128, layers: 4, heads: 4, vocab: 512, seq: 128, batch: 8 });
/** The same on a fake device, which has no tensor cores: heads of 12 channels do without them. */
export const tinyModel = gpt({ hidden: 24, layers: 2, heads: 2, vocab: 64, seq: 8, batch: 2 });
/** A Llama for a fake device. */
export const tinyLlama: ModelSizes = { ...tinyModel, kind: 'llama', keyHeads: 1, ffn: 24 };

/** Whose steps part 6 times, the likeliest to fit first. Vocabularies are padded to a multiple of 128. */
export const timedModels: Readonly<Record<string, ModelSizes>> = {
  'GPT-2 124M': gpt({ hidden: 768, layers: 12, heads: 12, vocab: 50304, seq: 1024, batch: 16 }),
  'GPT 1.3B': gpt({ hidden: 2048, layers: 24, heads: 16, vocab: 51200, seq: 2048, batch: 4 }),
  'Llama-3-8B, 4 of 32 layers': {
    kind: 'llama',
    hidden: 4096,
    layers: 4,
    heads: 32,
    keyHeads: 8,
    ffn: 14336,
    vocab: 128_256,
    seq: 4096,
    batch: 1,
  },
};

/** Tokens of a step. */
export function tokensOf({ seq, batch }: ModelSizes): number {
  return seq * batch;
}

/**
 * Floating-point operations of the matrix products of one step, forward and backward, the whole attention counted. For a GPT it is
 * 72 B s l h² (1 + s / 6h + V / 12lh).
 * @source Narayanan et al. 2021, equation 3, without recomputation
 */
export function flopsOf(sizes: ModelSizes): number {
  const { kind, hidden, layers, heads, keyHeads, ffn, vocab, seq } = sizes;
  const attention = hidden * hidden * (2 + (2 * keyHeads) / heads);
  const mlp = (kind === 'llama' ? 3 : 2) * hidden * ffn;
  const weights = layers * (attention + mlp) + vocab * hidden;
  return tokensOf(sizes) * (6 * weights + 12 * layers * hidden * seq);
}
