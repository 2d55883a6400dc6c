import { ConfigError, ShapeError } from '@megatron-ts/errors';
import { computeCode, type ComputeDType } from '../compute-dtype.ts';
import { drawOf, type DrawOptions, requireDropoutRates, requireWords } from '../draw.ts';
import { formatShape, sameShape } from '../shape.ts';
import type { AnyTensor } from '../tensor.ts';
import { where } from '../where-in-model.ts';
import { requireDType } from './operands.ts';

const noDropout: AttentionDropout = { p: 0 };

/** A dropout of probabilities, whose draws know the sample, the head, the query and the key of an element. */
export interface AttentionDropout extends DrawOptions {
  /** Number of the first head of this rank; 0 by default. */
  readonly firstHead?: number;
}

/** What every attention can be told. */
export interface AttentionOptions {
  /** Heads of queries: those of this rank under tensor parallelism. */
  readonly numHeads: number;
  /**
   * Heads of keys and values, `g`; a divisor of `numHeads`, `a`, which is the default. Query head `i` uses key head `⌊i / (a / g)⌋`.
   */
  readonly numKeyValueHeads?: number | undefined;
  /** Factor of the scores, above 0; `1 / sqrt(d)` by default. */
  readonly scale?: number | undefined;
  /** Added to the scaled scores of every sample: f32 `[a, sq, sk]`, such as the relative bias of T5. Its gradient sums over the batch. */
  readonly bias?: AnyTensor | undefined;
  /** Which probabilities are left out; none by default. */
  readonly dropout?: AttentionDropout | undefined;
  /** What products are computed in, with f32 sums; by default the dtype that queries, keys and values are stored in. */
  readonly computeDType?: ComputeDType | undefined;
  /** Keeps neither the result nor the log-sum-exp for backward, which runs the forward again; false by default. */
  readonly recompute?: boolean | undefined;
}

/** Tensors of an attention; without `kv`, `q` holds all heads. */
export interface AttentionOperands {
  /** Queries `[sq, b, a · d]`, or all heads `[s, b, (a + 2 g) · d]`. */
  readonly q: AnyTensor;
  /** Keys and values `[sk, b, 2 g · d]`. */
  readonly kv?: AnyTensor;
  /** Segments of queries, i32 `[sq, b]`. */
  readonly querySegments: AnyTensor | undefined;
  /** Segments of keys, i32 `[sk, b]`. */
  readonly keySegments: AnyTensor | undefined;
}

/** Which keys a query sees by its position. */
export interface Mask {
  /** Whether a query sees only keys up to its own position. */
  readonly causal: boolean;
  /** Keys that a causal query sees. */
  readonly window?: number | undefined;
}

/** An attention as the engine is told it. */
export interface AttentionSettings {
  /** Extents and words in the engine's order. */
  readonly words: Uint32Array;
  /** Share of the probabilities that are left out. */
  readonly p: number;
  /** Factor of the scores. */
  readonly scale: number;
  /** Shape of the result. */
  readonly outShape: readonly number[];
  /** Shape of the log-sum-exps. */
  readonly lseShape: readonly number[];
}

/** Checked settings of operation `op`. @throws ShapeError SHAPE_MISMATCH, ConfigError INVALID_OPTION, INDIVISIBLE, OUTSIDE_STEP */
export function settingsOf(
  op: string,
  operands: AttentionOperands,
  { causal, window, ...options }: AttentionOptions & Mask,
): AttentionSettings {
  const { q, kv = q } = operands;
  const { numHeads, numKeyValueHeads = numHeads, dropout = noDropout, computeDType } = options;
  requireHeads(op, numHeads, numKeyValueHeads);
  const headDim = headDimOf(op, operands, [numHeads, numKeyValueHeads]);
  const { scale = 1 / Math.sqrt(headDim) } = options;
  const [queries = 0, batch = 0] = q.shape;
  const [keys = 0] = kv.shape;
  if (!(scale > 0 && Number.isFinite(scale)))
    throw invalid(op, `scale is ${scale}. Use a number above 0, or leave it out for 1 / sqrt(d).`);
  if (window !== undefined && !(causal && Number.isInteger(window) && window >= 1))
    throw invalid(op, `window is ${window} with causal ${causal}. Use a whole number of at least 1, and causal attention.`);
  requireRows(op, operands, { bias: options.bias, biasShape: [numHeads, queries, keys] });
  const { firstHead = 0 } = dropout;
  requireDropoutRates(op, { dropout: dropout.p });
  requireWords(op, { firstHead });
  const flags = [causal ? 1 : 0, Math.min(window ?? 0, queries), computeCode(op, q.dtype, { computeDType })];
  const { p, key, firstSample } = drawOf(op, dropout, batch);
  return {
    words: Uint32Array.of(queries, keys, batch, numHeads, numKeyValueHeads, headDim, ...flags, ...key, firstSample, firstHead),
    p,
    scale,
    outShape: [queries, batch, numHeads * headDim],
    lseShape: [batch, numHeads, queries],
  };
}

function requireHeads(op: string, numHeads: number, numKeyValueHeads: number): void {
  for (const [name, value] of Object.entries({ numHeads, numKeyValueHeads }))
    if (!(Number.isInteger(value) && value >= 1)) throw invalid(op, `${name} is ${value}. Use a whole number of at least 1.`);
  if (numHeads % numKeyValueHeads !== 0)
    throw new ConfigError(
      'INDIVISIBLE',
      `${where(op)}: numKeyValueHeads ${numKeyValueHeads} does not divide numHeads ${numHeads}. Use a divisor of ${numHeads}.`,
      { fields: { numHeads, numKeyValueHeads } },
    );
}

/** Channels of a head. */
function headDimOf(op: string, { q, kv }: AttentionOperands, [a, g]: readonly [number, number]): number {
  if (kv === undefined) {
    const form = a === g ? `3 · ${a} heads · d` : `(${a} + 2 · ${g}) heads · d`;
    return dividedBy(op, { name: 'qkv', given: q, form, heads: a + 2 * g });
  }
  const headDim = dividedBy(op, { name: 'q', given: q, form: `${a} heads · d`, heads: a });
  const [keys = 0, batch = 0] = kv.shape;
  if (!sameShape(kv.shape, [keys, q.shape[1] ?? 0, 2 * g * headDim]))
    throw misshapen(
      op,
      `kv ${formatShape(kv.shape)} is not [sk, b, 2 · ${g} heads · d] beside q ${formatShape(q.shape)}, whose d is ${headDim}. `
        + `Give it ${batch === q.shape[1] ? `a last extent of ${2 * g * headDim}` : 'the batch of q'}.`,
    );
  return headDim;
}

interface Heads {
  readonly name: string;
  readonly given: AnyTensor;
  readonly form: string;
  readonly heads: number;
}

function dividedBy(op: string, { name, given, form, heads }: Heads): number {
  const { shape } = given;
  const headDim = (shape[2] ?? 0) / heads;
  if (shape.length === 3 && Number.isInteger(headDim) && headDim >= 1) return headDim;
  throw misshapen(op, `${name} ${formatShape(shape)} is not [s, b, ${form}]. The last extent must be a multiple of ${heads}.`);
}

interface Bias {
  readonly bias: AnyTensor | undefined;
  readonly biasShape: readonly number[];
}

/** Holds what goes with queries and keys against their extents. */
function requireRows(op: string, { q, kv, querySegments, keySegments }: AttentionOperands, { bias, biasShape }: Bias): void {
  const [query, key] = kv === undefined ? ['segments', 'segments'] : ['querySegments', 'keySegments'];
  for (const [name, segments, of] of [
    [query, querySegments, q],
    [key, keySegments, kv ?? q],
  ] as const) {
    if (segments === undefined) continue;
    requireDType(op, { [name]: segments }, 'i32');
    const rows = of.shape.slice(0, 2);
    if (!sameShape(segments.shape, rows))
      throw misshapen(
        op,
        `${name} ${formatShape(segments.shape)} is not ${formatShape(rows)}. Give one number to each position of each sample.`,
      );
  }
  if (bias === undefined) return;
  requireDType(op, { bias }, 'f32');
  if (!sameShape(bias.shape, biasShape))
    throw misshapen(
      op,
      `bias ${formatShape(bias.shape)} is not ${formatShape(biasShape)}. Give one number to each query and key of each head.`,
    );
}

function invalid(op: string, sentence: string): ConfigError {
  return new ConfigError('INVALID_OPTION', `${where(op)}: ${sentence}`);
}

function misshapen(op: string, sentence: string): ShapeError {
  return new ShapeError('SHAPE_MISMATCH', `${where(op)}: ${sentence}`);
}
