import { ConfigError, ShapeError } from '@megatron-ts/errors';
import { checksPlacements } from '../check-mode.ts';
import { engine } from '../engine.ts';
import { record } from '../node.ts';
import type { Whole } from '../placement.ts';
import { combined, described, layoutOf, misplaced, place, placed } from '../placements/index.ts';
import { result } from '../result.ts';
import { formatShape, sameShape } from '../shape.ts';
import type { AnyTensor, Tensor } from '../tensor.ts';
import { where } from '../where-in-model.ts';
import { requireDType } from './operands.ts';

const op = 'rotaryEmbedding';

/** Options of `rotaryEmbedding`. */
export interface RotaryEmbeddingOptions {
  /** Angles, f32 `[positions, r]`: the cosines of the r / 2 frequencies of a position, then their sines; r is even and at most `headDim`. */
  readonly table: AnyTensor;
  /** Heads of queries in `qkv`, `a`: those of this rank under tensor parallelism. */
  readonly numHeads: number;
  /** Heads of keys and values, `g`; `numHeads` by default. */
  readonly numKeyValueHeads?: number | undefined;
  /** Channels of a head, `d`. */
  readonly headDim: number;
  /** Whether a pair is (2 i, 2 i + 1) rather than (i, i + r / 2); false by default. */
  readonly interleaved?: boolean | undefined;
  /** Position of each token, i32 `[s, b]`: its row of the table; 0 … s - 1 by default. */
  readonly positions?: AnyTensor | undefined;
}

/** Extents and the order of pairs, in the engine's order. */
function wordsOf(qkv: AnyTensor, options: RotaryEmbeddingOptions): readonly number[] {
  const { table, numHeads, numKeyValueHeads = numHeads, headDim, interleaved = false, positions } = options;
  requireDType(op, { qkv }, 'f32', 'bf16');
  requireDType(op, { table }, 'f32');
  for (const [name, value] of Object.entries({ numHeads, numKeyValueHeads, headDim }))
    if (!(Number.isInteger(value) && value >= 1))
      throw new ConfigError('INVALID_OPTION', `${where(op)}: ${name} is ${value}. Use a whole number of at least 1.`);
  const [seq = 0, batch = 0] = qkv.shape;
  const width = (numHeads + 2 * numKeyValueHeads) * headDim;
  if (!sameShape(qkv.shape, [seq, batch, width]))
    throw misshapen(
      `qkv ${formatShape(qkv.shape)} is not [s, b, (${numHeads} + 2 · ${numKeyValueHeads}) heads · ${headDim}]. Its last extent must be ${width}.`,
    );
  const [rows = 0, rotated = 0] = table.shape;
  if (table.shape.length !== 2 || rotated < 2 || rotated % 2 !== 0 || rotated > headDim)
    throw misshapen(
      `table ${formatShape(table.shape)} is not [positions, r]. Give it an even number of columns, at most headDim ${headDim}.`,
    );
  if (positions !== undefined) {
    requireDType(op, { positions }, 'i32');
    if (!sameShape(positions.shape, [seq, batch]))
      throw misshapen(`positions ${formatShape(positions.shape)} is not [${seq}, ${batch}]. Give one to each token of qkv.`);
  } else if (seq > rows)
    throw misshapen(`qkv has ${seq} positions, but table ${formatShape(table.shape)} has ${rows}. Give a longer table.`);
  return [seq, batch, numHeads, numKeyValueHeads, headDim, rotated, interleaved ? 1 : 0];
}

/**
 * Turns each pair of channels of the queries and keys of `qkv` `[s, b, (a + 2 g) · d]` by the angle of its frequency and of the token's
 * position; values, and channels beyond those of the table, stay as they are. Angles are f32. The table has no gradient.
 * @throws ShapeError SHAPE_MISMATCH, ConfigError INVALID_OPTION, EngineError ENGINE_REFUSED for a position that is not in the table
 * @source Su et al. 2021, equation 34
 */
export function rotaryEmbedding<P extends Whole>(qkv: Tensor<P>, options: RotaryEmbeddingOptions): Tensor<P> {
  const words = wordsOf(qkv, options);
  const { table, positions } = options;
  const { shape, dtype, placement } = qkv;
  const turned = (x: AnyTensor, back: 0 | 1): Tensor<P> => {
    const handle = engine.rotary(x.handle, table.handle, positions?.handle ?? 0, Uint32Array.of(...words, back));
    return result(op, handle, { shape, dtype, placement });
  };
  const y = turned(qkv, 0);
  if (checksPlacements()) place(y, turnedLayout(qkv, positions));
  return record(y, {
    op,
    inputs: [qkv],
    saved: positions === undefined ? [table] : [table, positions],
    backward: (grad) => [checksPlacements() ? place(turned(grad, 1), layoutOf(grad)) : turned(grad, 1)],
  });
}

function misshapen(sentence: string): ShapeError {
  return new ShapeError('SHAPE_MISMATCH', `${where(op)}: ${sentence}`);
}

/** Rows of a part of the sequence have positions that only the caller knows. */
function turnedLayout(qkv: AnyTensor, positions: AnyTensor | undefined) {
  const { shape, layout } = combined(op, qkv.shape, { factors: [placed(qkv)] });
  for (const [axis, placement] of Object.entries(layout ?? {}))
    if (positions === undefined && placement.kind === 'sharded' && placement.dim === 0)
      throw misplaced(
        op,
        `${described(axis, { shape, layout })} is a part of the sequence, and would be turned as if it began at position 0. Give positions, or gather it.`,
      );
  return layout;
}
