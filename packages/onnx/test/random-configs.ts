import type { GPTConfig } from '@megatron-ts/core';

/** Whole numbers below a limit, the same for the same seed. */
export function drawsFrom(seed: number): (limit: number) => number {
  let state = seed >>> 0;
  return (limit) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * limit);
  };
}

/** Any model that can be built: every kind of norm, activation and window, with and without biases and a head of its own. */
export function randomConfig(seed: number): GPTConfig {
  const below = drawsFrom(seed * 7_919 + 1);
  const numAttentionHeads = 1 + below(4);
  const window = below(2) === 0 ? {} : { window: 1 + below(6) };
  return {
    vocabSize: 17 + below(60),
    maxSequenceLength: 9 + below(8),
    numLayers: 1 + below(3),
    numAttentionHeads,
    hiddenSize: numAttentionHeads * (2 + 2 * below(5)),
    ffnHiddenSize: 5 + below(40),
    normalization: below(2) === 0 ? 'rmsNorm' : 'layerNorm',
    activation: (['gelu', 'swiglu', 'geglu'] as const)[seed % 3] ?? 'gelu',
    tieWordEmbeddings: below(2) === 0,
    bias: below(2) === 0,
    layerNormEps: below(2) === 0 ? 1e-5 : 1e-3,
    initStd: 0.3,
    hiddenDropout: below(2) / 5,
    attentionDropout: below(2) / 10,
    ...window,
  };
}
