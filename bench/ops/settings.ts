import { gptSizes, type GptSizes } from '../gpt-sizes.ts';

/** Element type of the operands of the operations that are measured. */
export type OperandDType = 'f32' | 'bf16';

/** One row: what both sides are told to prepare, as JSON. */
export interface OpSetting {
  /** Name of the row. */
  readonly name: string;
  /** Operation; both sides have a table of them. */
  readonly op: string;
  /** Extents that the operation's inputs are made of. */
  readonly sizes: Readonly<Record<string, number>>;
  /** Element type of operands. */
  readonly dtype: OperandDType;
  /** Whether a turn also computes the gradients of all inputs. */
  readonly withBackward: boolean;
}

/** An operation and the passes of it that are measured. */
interface Entry {
  readonly op: string;
  readonly sizes: OpSetting['sizes'];
  /** What tells rows of one operation apart. */
  readonly label?: string;
  readonly hasBackward: boolean;
  /** Where its operands are of one type whatever the row says; it is then measured with the f32 rows. */
  readonly isFixed?: boolean;
}

const both = { hasBackward: true };
const forwardOnly = { hasBackward: false };
const fixed = { hasBackward: false, isFixed: true };

/** Operations of a GPT's training step, on the shapes of a model. */
function gptEntries(model: string, { hidden, heads, vocab, seq, batch, layers }: GptSizes): Entry[] {
  const tokens = seq * batch;
  const rows = { rows: tokens, cols: hidden };
  const stream = { seq, batch, cols: hidden, dropout: 0.1 };
  const wide = { rows: tokens, cols: 4 * hidden };
  const attention = { seq, batch, heads, dim: hidden / heads };
  const head = { rows: Math.min(tokens, 512), vocab, cols: hidden };
  const linears = { qkv: [hidden, 3 * hidden], projection: [hidden, hidden], up: [hidden, 4 * hidden], down: [4 * hidden, hidden] };
  const parameters = 12 * layers * hidden ** 2;
  return [
    ...Object.entries(linears).flatMap(([label, [inputs = 0, outputs = 0]]) =>
      ['linear', 'linearInputGradient', 'linearWeightGradient'].map((op) => ({
        op,
        label,
        sizes: { rows: tokens, inputs, outputs },
        ...forwardOnly,
      })),
    ),
    { op: 'matmul', label: 'q kᵀ', sizes: { count: heads * batch, rows: seq, inner: hidden / heads, cols: seq }, ...both },
    { op: 'biasAdd', sizes: rows, ...both },
    { op: 'dropout', sizes: stream, ...both },
    { op: 'biasDropoutAdd', sizes: stream, ...both },
    { op: 'biasGelu', sizes: wide, ...both },
    { op: 'biasSwiglu', sizes: wide, ...both },
    { op: 'biasGeglu', sizes: wide, ...both },
    ...['layerNorm', 'rmsNorm', 'addLayerNorm', 'addRmsNorm'].map((op) => ({ op, sizes: rows, ...both })),
    { op: 'attention', label: 'causal', sizes: { ...attention, causal: 1 }, ...both },
    { op: 'attention', label: 'full', sizes: { ...attention, causal: 0 }, ...both },
    { op: 'attention', label: 'window', sizes: { ...attention, causal: 1, window: seq / 4 }, ...both },
    { op: 'attention', label: 'causal, dropout', sizes: { ...attention, causal: 1, dropout: 0.1 }, ...both },
    { op: 'embedding', sizes: { rows: tokens, vocab, cols: hidden }, ...both },
    { op: 'crossEntropy', sizes: { rows: head.rows, vocab }, ...both },
    { op: 'linearCrossEntropy', sizes: head, ...both },
    { op: 'adamW', sizes: { numel: parameters / (model === 'gpt2' ? 4 : 1) }, ...fixed },
    { op: 'sumSquares', sizes: { numel: parameters / (model === 'gpt2' ? 4 : 1) }, ...forwardOnly },
  ];
}

const unary = ['neg', 'exp', 'log', 'sqrt', 'tanh', 'sigmoid', 'abs', 'relu', 'gelu', 'geluErf', 'square', 'reciprocal', 'silu'];
const binary = ['add', 'sub', 'mul', 'div', 'pow', 'maximum', 'minimum'];
const compare = ['eq', 'ne', 'lt', 'le', 'gt', 'ge'];
const reduce = ['sum', 'mean', 'max', 'min'];
const views = ['permute', 'slice', 'expand', 'cat'];
const inPlace = ['axpy', 'scaleInPlace', 'copy', 'fill'];

/** Operations on any tensors, on a residual stream. */
function plainEntries({ hidden, seq, batch }: GptSizes): Entry[] {
  const sizes = { rows: seq * batch, cols: hidden };
  return [
    ...[...unary, ...binary].map((op) => ({ op, sizes, ...both })),
    { op: 'add', label: 'of a row', sizes: { ...sizes, broadcast: 1 }, ...both },
    { op: 'mul', label: 'by a number', sizes: { ...sizes, scalar: 1 }, ...both },
    ...compare.map((op) => ({ op, sizes, ...forwardOnly })),
    { op: 'where', sizes, ...both },
    { op: 'gather', sizes: { ...sizes, picked: hidden / 4 }, ...both },
    ...reduce.flatMap((op) => [
      { op, label: 'of rows', sizes: { ...sizes, dim: 1 }, ...both },
      { op, label: 'of columns', sizes: { ...sizes, dim: 0 }, ...both },
    ]),
    { op: 'sum', label: 'of all', sizes: { ...sizes, dim: -1 }, ...both },
    ...views.map((op) => ({ op, sizes: { seq, batch, cols: hidden }, ...both })),
    { op: 'toBf16', sizes, ...fixed },
    { op: 'toF32', sizes, ...fixed },
    ...inPlace.map((op) => ({ op, sizes, ...forwardOnly })),
  ];
}

/** All rows in `dtype`: first a GPT's operations on the shapes of each model, then the plain ones on those of the largest. */
export function opSettings(dtype: OperandDType): OpSetting[] {
  const { small, gpt2 } = gptSizes;
  const groups = [
    { shapes: 'small', entries: gptEntries('small', small) },
    { shapes: 'gpt2', entries: [...gptEntries('gpt2', gpt2), ...plainEntries(gpt2)] },
  ];
  return groups.flatMap(({ shapes, entries }) =>
    entries
      .filter(({ isFixed }) => isFixed !== true || dtype === 'f32')
      .flatMap(({ op, label, sizes, hasBackward }) =>
        (hasBackward ? [false, true] : [false]).map((withBackward) => {
          const pass = hasBackward ? (withBackward ? ', forward and backward' : ', forward') : '';
          return { name: `${shapes}: ${op}${label === undefined ? '' : ` ${label}`}${pass}`, op, sizes, dtype, withBackward };
        }),
      ),
  );
}
