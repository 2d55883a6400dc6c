import {
  addLayerNorm,
  addRmsNorm,
  type AnyTensor,
  biasAdd,
  biasDropoutAdd,
  biasGeglu,
  biasGelu,
  biasSwiglu,
  crossEntropy,
  dropout,
  embedding,
  layerNorm,
  linear,
  matmul,
  rmsNorm,
  selfAttention,
  shardedLinearCrossEntropy,
} from '@megatron-ts/tensor';
import type { BodyOf } from './body.ts';
import { inputGradient, weightGradient } from './engine-bodies.ts';
import type { Inputs } from './values.ts';

const small = { scale: 0.02 };
const wholeVocabulary = { firstColumn: 0, maximum: () => undefined, sum: () => undefined };

/** The vectors of a norm: scale near 1, shift near 0. */
function normVectors(inputs: Inputs, cols: number) {
  return { weight: inputs.make([cols], { scale: 0.1, shift: 1 }), bias: inputs.make([cols], small) };
}

function addends(inputs: Inputs, rows: number, cols: number) {
  return { residual: inputs.make([rows, cols]), addedBias: inputs.make([cols], small) };
}

const both = ({ sum, normed }: { readonly sum: AnyTensor; readonly normed: AnyTensor }) => [sum, normed];

const activation =
  (op: (x: AnyTensor, bias: AnyTensor) => AnyTensor, parts: number): BodyOf =>
  (inputs, { rows = 0, cols = 0 }) => {
    const [x, bias] = [inputs.make([rows, parts * cols]), inputs.make([parts * cols], small)];
    return () => op(x, bias);
  };

/** Operations of a GPT's training step. */
export const gptBodies: Readonly<Record<string, BodyOf>> = {
  linear: (inputs, { rows = 0, inputs: width = 0, outputs = 0 }) => {
    const [x, weight, bias] = [inputs.make([rows, width]), inputs.make([outputs, width], small), inputs.make([outputs], small)];
    return () => linear(x, weight, bias);
  },
  linearInputGradient: inputGradient,
  linearWeightGradient: weightGradient,
  matmul: (inputs, { count = 0, rows = 0, inner = 0, cols = 0 }) => {
    const [a, b] = [inputs.make([count, rows, inner]), inputs.make([count, inner, cols])];
    return () => matmul(a, b);
  },
  biasAdd: (inputs, { rows = 0, cols = 0 }) => {
    const [x, bias, residual] = [inputs.make([rows, cols]), inputs.make([cols], small), inputs.make([rows, cols])];
    return () => biasAdd(x, bias, residual);
  },
  dropout: (inputs, { seq = 0, batch = 0, cols = 0, dropout: p = 0 }) => {
    const x = inputs.make([seq, batch, cols]);
    return () => dropout(x, draw(p));
  },
  biasDropoutAdd: (inputs, { seq = 0, batch = 0, cols = 0, dropout: p = 0 }) => {
    const shape = [seq, batch, cols];
    const [x, bias, residual] = [inputs.make(shape), inputs.make([cols], small), inputs.make(shape)];
    return () => biasDropoutAdd(x, bias, residual, draw(p));
  },
  biasGelu: activation(biasGelu, 1),
  biasSwiglu: activation(biasSwiglu, 2),
  biasGeglu: activation(biasGeglu, 2),
  layerNorm: (inputs, { rows = 0, cols = 0 }) => {
    const [x, vectors] = [inputs.make([rows, cols]), normVectors(inputs, cols)];
    return () => layerNorm(x, vectors);
  },
  rmsNorm: (inputs, { rows = 0, cols = 0 }) => {
    const [x, weight] = [inputs.make([rows, cols]), inputs.make([cols], { scale: 0.1, shift: 1 })];
    return () => rmsNorm(x, { weight });
  },
  addLayerNorm: (inputs, { rows = 0, cols = 0 }) => {
    const [x, added, vectors] = [inputs.make([rows, cols]), addends(inputs, rows, cols), normVectors(inputs, cols)];
    return () => both(addLayerNorm(x, { ...vectors, ...added }));
  },
  addRmsNorm: (inputs, { rows = 0, cols = 0 }) => {
    const [x, added, weight] = [inputs.make([rows, cols]), addends(inputs, rows, cols), inputs.make([cols], { scale: 0.1, shift: 1 })];
    return () => both(addRmsNorm(x, { weight, ...added }));
  },
  attention: (inputs, { seq = 0, batch = 0, heads = 0, dim = 0, causal = 1, window, dropout: p }) => {
    const qkv = inputs.make([seq, batch, 3 * heads * dim]);
    const options = { numHeads: heads, causal: causal === 1, window, dropout: p === undefined ? undefined : draw(p) };
    return () => selfAttention(qkv, options);
  },
  embedding: (inputs, { rows = 0, vocab = 0, cols = 0 }) => {
    const [weight, tokens] = [inputs.make([vocab, cols]), inputs.indices([rows], vocab)];
    return () => embedding(weight, tokens);
  },
  crossEntropy: (inputs, { rows = 0, vocab = 0 }) => {
    const [logits, targets] = [inputs.make([rows, vocab]), inputs.indices([rows], vocab)];
    return () => crossEntropy(logits, targets);
  },
  linearCrossEntropy: (inputs, { rows = 0, vocab = 0, cols = 0 }) => {
    const [x, weight, targets] = [inputs.make([rows, cols]), inputs.make([vocab, cols], small), inputs.indices([rows], vocab)];
    return () => shardedLinearCrossEntropy(x, weight, targets, { shards: { ...wholeVocabulary, vocabSize: vocab } });
  },
};

/** A dropout that needs no step to draw from. */
function draw(p: number) {
  return { p, key: [1, 2] as const, firstSample: 0 };
}
