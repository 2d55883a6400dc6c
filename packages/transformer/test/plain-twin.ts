import {
  add,
  type AnyTensor,
  crossEntropy,
  embedding,
  gelu,
  layerNorm,
  linear,
  mul,
  type Parameter,
  reshape,
  rmsNorm,
  selfAttention,
  silu,
  slice,
  type Tensor,
} from '@megatron-ts/tensor';
import type { GPTModel } from '../src/index.ts';

/** Losses of a GPT on one rank from the parameters of `model`, each operation by itself: what the fused ones must agree with. */
export function plainLosses(model: GPTModel, { tokens, targets, numHeads }: PlainInput): Tensor {
  const p = model.namedParameters();
  const of = (name: string): AnyTensor => p.get(name) as Parameter;
  const [seq = 0] = tokens.shape;
  const positions = slice(of('embedding.positionEmbeddings.weight') as Tensor, 0, { start: 0, end: seq });
  let x: AnyTensor = add(embedding(of('embedding.wordEmbeddings.weight') as Tensor, tokens), reshape(positions, [seq, 1, -1])); // [s, b, h]
  for (const layer of model.layers.keys()) x = plainLayer(x, (suffix) => p.get(`layers.${layer}.${suffix}`), numHeads);
  const normed = norm(x, (suffix) => p.get(`finalNorm.${suffix}`));
  const logits: AnyTensor = linear(normed, of('head.weight')); // [s, b, v]
  return crossEntropy(logits, targets); // [s, b]
}

/** What the losses are of. */
export interface PlainInput {
  /** Tokens (i32) `[s, b]`. */
  readonly tokens: Tensor;
  /** Those that follow them. */
  readonly targets: Tensor;
  /** Heads. */
  readonly numHeads: number;
}

type Parameters = (suffix: string) => Parameter | undefined;

function plainLayer(x: AnyTensor, of: Parameters, numHeads: number): AnyTensor {
  const projected = (name: string, input: AnyTensor) => {
    const [weight, bias] = [of(`${name}.weight`) as AnyTensor, of(`${name}.bias`)];
    const y: AnyTensor = linear(input, weight);
    return bias === undefined ? y : add(y, bias as AnyTensor);
  };
  const qkv = projected(
    'attention.qkv',
    norm(x, (suffix) => of(`attentionNorm.${suffix}`)),
  );
  const attended = add(x, projected('attention.projection', selfAttention(qkv, { numHeads, causal: true })));
  const wide = projected(
    'mlp.up',
    norm(attended, (suffix) => of(`mlpNorm.${suffix}`)),
  );
  return add(attended, projected('mlp.down', activated(wide, of('mlp.down.weight')?.shape[1] ?? 0)));
}

/** GELU, or SwiGLU where the features are twice those that the next layer takes. */
function activated(wide: AnyTensor, width: number): AnyTensor {
  if (wide.shape.at(-1) === width) return gelu(wide);
  return mul(silu(slice(wide, -1, { start: 0, end: width })), slice(wide, -1, { start: width, end: 2 * width }));
}

function norm(x: AnyTensor, of: Parameters): AnyTensor {
  const [weight, bias] = [of('weight') as AnyTensor, of('bias')];
  return bias === undefined ? rmsNorm(x, { weight }) : layerNorm(x, { weight, bias });
}
