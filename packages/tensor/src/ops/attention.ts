import { checksPlacements } from '../check-mode.ts';
import { engine } from '../engine.ts';
import { record } from '../node.ts';
import type { Whole } from '../placement.ts';
import { attendedLayout, attentionGradient, place } from '../placements/index.ts';
import { remakeable } from '../remade-tensor.ts';
import { result } from '../result.ts';
import { type AnyTensor, Tensor } from '../tensor.ts';
import { type AttentionOperands, type AttentionOptions, type AttentionSettings, settingsOf } from './attention-settings.ts';
import { requireDType, requireStreams } from './operands.ts';

export type { AttentionDropout, AttentionOptions } from './attention-settings.ts';

const outs = new Uint32Array(3);
const handles = new Uint32Array(5);
const savedHandles = new Uint32Array(3);

/** Options of `selfAttention`. */
export interface SelfAttentionOptions extends AttentionOptions {
  /** Whether a query sees only keys up to its own position. */
  readonly causal: boolean;
  /** Keys that a causal query sees, its own the last; all by default. */
  readonly window?: number | undefined;
  /**
   * Segment of each position, i32 `[s, b]`, such as the documents of a packed row: a query sees only keys of its own. Negative numbers are
   * padding, which sees nothing and is not seen.
   */
  readonly segments?: AnyTensor | undefined;
}

/** Options of `crossAttention`. */
export interface CrossAttentionOptions extends AttentionOptions {
  /** Queries have no position among the keys. */
  readonly causal?: false;
  /** Segment of each query, i32 `[sq, b]`, as in `selfAttention`; 0 for all by default. */
  readonly querySegments?: AnyTensor | undefined;
  /** Segment of each key, i32 `[sk, b]`; 0 for all by default, so that -1 alone marks padding. */
  readonly keySegments?: AnyTensor | undefined;
}

/**
 * `dropout(softmax(scale · q kᵀ + bias)) v` per head. `qkv` `[s, b, (a + 2 g) · d]` holds all queries, then all keys, then all values,
 * each head by head; the result is `[s, b, a · d]`. Backward recomputes the probabilities from the saved log-sum-exp, and draws the same
 * dropout again: memory is linear in s. A query that sees no key gives 0 and has no gradient. bf16 queries, keys and values are always
 * multiplied in bf16.
 * @throws ShapeError SHAPE_MISMATCH, ConfigError INVALID_OPTION, INDIVISIBLE, OUTSIDE_STEP
 * @source Vaswani et al. 2017, equation 1; Dao et al. 2022 (recomputation); Beltagy et al. 2020 (windows); Ainslie et al. 2023 (groups)
 */
export function selfAttention<P extends Whole>(qkv: Tensor<P>, { segments, ...options }: SelfAttentionOptions): Tensor<P> {
  requireDType('selfAttention', { qkv }, 'f32', 'bf16');
  const operands = { q: qkv, querySegments: segments, keySegments: segments };
  return attend('selfAttention', operands, { settings: settingsOf('selfAttention', operands, options), options, of: qkv });
}

/**
 * The same with queries `q` `[sq, b, a · d]` of one sequence, and keys and values `kv` `[sk, b, 2 g · d]` of another: all keys, then all
 * values, each head by head. The result is `[sq, b, a · d]`.
 * @throws ShapeError SHAPE_MISMATCH, DTypeError DTYPE_MISMATCH, ConfigError INVALID_OPTION, INDIVISIBLE, OUTSIDE_STEP
 * @source Vaswani et al. 2017, section 3.2.3
 */
export function crossAttention<P extends Whole>(q: Tensor<P>, kv: Tensor<P>, options: CrossAttentionOptions): Tensor<P> {
  requireStreams('crossAttention', { q, kv });
  const { querySegments, keySegments, ...rest } = options;
  const operands = { q, kv, querySegments, keySegments };
  const settings = settingsOf('crossAttention', operands, { ...rest, causal: false });
  return attend('crossAttention', operands, { settings, options, of: q });
}

interface Plan<P extends Whole> {
  readonly settings: AttentionSettings;
  readonly options: AttentionOptions;
  /** The tensor whose dtype and placement the result has. */
  readonly of: Tensor<P>;
}

/** The engine's words for what is read; they stand until the next call. A handle may be made again by an attention of its own. */
function handlesOf({ q, kv, querySegments, keySegments }: AttentionOperands, bias: AnyTensor | undefined): Uint32Array {
  const read = [q.handle, kv?.handle ?? 0, querySegments?.handle ?? 0, keySegments?.handle ?? 0, bias?.handle ?? 0];
  handles.set(read);
  return handles;
}

function attend<P extends Whole>(
  op: string,
  operands: AttentionOperands,
  { settings, options: { bias, recompute = false }, of }: Plan<P>,
): Tensor<P> {
  const { q, kv, querySegments, keySegments } = operands;
  const { words, p, scale, outShape, lseShape } = settings;
  const { dtype, placement } = of;
  const forward = (): readonly [Tensor<P>, Tensor] => {
    engine.attention(handlesOf(operands, bias), words, p, scale, outs);
    const [outHandle, lseHandle] = outs as unknown as [number, number];
    const lse = new Tensor(lseHandle, { shape: lseShape, dtype: 'f32', placement: 'replicated' });
    return [result(op, outHandle, { shape: outShape, dtype, placement }), lse]; // [sq, b, a · d]
  };
  const inputs = present(q, kv, bias);
  const made = forward();
  if (checksPlacements()) place(made[0], attendedLayout(op, operands, bias));
  const reads = present(...inputs, querySegments, keySegments);
  const [out, lse] = recompute ? remakeable(made, { make: forward, inputs: reads }) : made;
  return record(out, {
    op,
    inputs,
    saved: [...reads, out, lse],
    backward: (grad) => {
      savedHandles[0] = out.handle;
      savedHandles[1] = lse.handle;
      savedHandles[2] = grad.handle;
      const wantsBias = bias?.requiresGrad === true;
      engine.attentionBackward(handlesOf(operands, bias), savedHandles, words, p, scale, wantsBias, outs);
      const made = wantsBias ? inputs : present(q, kv);
      return made.map((input, index) => {
        const { shape, dtype, placement } = input;
        const gradient: AnyTensor = result(op, outs[index] ?? 0, { shape, dtype, placement });
        return checksPlacements() ? place(gradient, attentionGradient(op, { grad, q, input, bias })) : gradient;
      });
    },
  });
}

function present(...tensors: readonly (AnyTensor | undefined)[]): AnyTensor[] {
  return tensors.filter((tensor) => tensor !== undefined);
}
