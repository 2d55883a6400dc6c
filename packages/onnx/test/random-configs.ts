import type { GPTConfig, RotaryOptions } from '@megatron-ts/core';

/** Whole numbers below a limit, the same for the same seed. */
export function drawsFrom(seed: number): (limit: number) => number {
  let state = seed >>> 0;
  return (limit) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * limit);
  };
}

const rotations: readonly RotaryOptions[] = [
  {},
  { base: 500_000, scaling: { kind: 'llama3', originalMaxSequenceLength: 4 } },
  { interleaved: true, scaling: { kind: 'yarn', factor: 4, originalMaxSequenceLength: 4 } },
  { fraction: 0.5, scaling: { kind: 'linear', factor: 2 } },
  { fraction: 0.5, interleaved: true },
];

const activations = ['gelu', 'geluErf', 'relu', 'squaredRelu', 'swiglu', 'geglu'] as const;

/** Any model that can be built: every norm, activation, window, heads and positions, with and without biases and a head of its own. */
export function randomConfig(seed: number): GPTConfig {
  const below = drawsFrom(seed * 7_919 + 1);
  const numKeyValueHeads = 1 + below(3);
  const numAttentionHeads = numKeyValueHeads * (1 + below(3));
  const headDim = 4 * (1 + below(3));
  const rotary = rotations[below(2 * rotations.length)];
  return {
    vocabSize: 17 + below(60),
    maxSequenceLength: 9 + below(8),
    numLayers: 1 + below(3),
    numAttentionHeads,
    numKeyValueHeads,
    hiddenSize: numAttentionHeads * (1 + below(10)),
    headDim,
    qkNorm: below(3) === 0,
    ffnHiddenSize: 5 + below(40),
    normalization: below(2) === 0 ? 'rmsNorm' : 'layerNorm',
    activation: activations[seed % activations.length] ?? 'gelu',
    tieWordEmbeddings: below(2) === 0,
    bias: below(2) === 0,
    layerNormEps: below(2) === 0 ? 1e-5 : 1e-3,
    initStd: 0.3,
    hiddenDropout: below(2) / 5,
    attentionDropout: below(2) / 10,
    ...(rotary === undefined ? {} : { rotary }),
    ...(below(2) === 0 ? {} : { window: 1 + below(6) }),
  };
}
