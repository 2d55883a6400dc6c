import type { DeviceOpSetting } from './device-op.ts';

/** An operation that is compared. */
export interface ComparedOp {
  /** Its name in the tables of both sides. */
  readonly op: string;
  /** What tells rows of one operation apart. */
  readonly label?: string;
  /** Extents of its inputs. */
  readonly sizes: DeviceOpSetting['sizes'];
  /** Whether it has gradients. */
  readonly hasBackward: boolean;
  /** Whether PyTorch has the same; what is drawn at random it has not. */
  readonly hasPeer: boolean;
  /** Whether its operands are of one type whatever the row says. */
  readonly isFixed?: boolean;
}

/** Shapes of part 2: small enough for the CPU, large enough for several blocks, and some that no block divides. */
export interface ComparedShapes {
  readonly seq: number;
  readonly batch: number;
  readonly heads: number;
  readonly dim: number;
  readonly hidden: number;
  readonly vocab: number;
}

/** On a device. */
export const fullShapes: ComparedShapes = { seq: 192, batch: 2, heads: 8, dim: 64, hidden: 512, vocab: 4099 };
/** Under compute-sanitizer, which slows a kernel down a hundredfold. */
export const smallShapes: ComparedShapes = { seq: 40, batch: 2, heads: 2, dim: 16, hidden: 64, vocab: 131 };
/** On a fake device, which has no tensor cores: heads of 12 channels do without them. */
export const tinyShapes: ComparedShapes = { seq: 12, batch: 2, heads: 2, dim: 12, hidden: 16, vocab: 37 };

const both = { hasBackward: true, hasPeer: true };
const forward = { hasBackward: false, hasPeer: true };
const alone = { hasBackward: true, hasPeer: false };
const forwardAlone = { hasBackward: false, hasPeer: false };
const fixed = { isFixed: true };

const unary = ['neg', 'exp', 'log', 'sqrt', 'tanh', 'sigmoid', 'abs', 'relu', 'gelu', 'geluErf', 'square', 'reciprocal', 'silu'];
const binary = ['add', 'sub', 'mul', 'div', 'pow', 'maximum', 'minimum'];
const compare = ['eq', 'ne', 'lt', 'le', 'gt', 'ge'];
const reduce = ['sum', 'mean', 'max', 'min'];

function plain({ seq, batch, hidden }: ComparedShapes): ComparedOp[] {
  const sizes = { rows: seq * batch, cols: hidden };
  const odd = { rows: seq * batch - 1, cols: hidden - 3 };
  const stream = { seq, batch, cols: hidden };
  return [
    ...[...unary, ...binary].map((op) => ({ op, sizes: odd, ...both })),
    { op: 'add', label: 'of a row', sizes: { ...sizes, broadcast: 1 }, ...both },
    { op: 'mul', label: 'by a number', sizes: { ...sizes, scalar: 1 }, ...both },
    ...compare.map((op) => ({ op, sizes, ...forward })),
    { op: 'compareWithNumber', sizes, ...forwardAlone },
    { op: 'where', sizes, ...both },
    { op: 'gather', sizes: { ...sizes, picked: hidden / 4 }, ...both },
    ...reduce.flatMap((op) => [
      { op, label: 'of rows', sizes: { ...odd, dim: 1 }, ...both },
      { op, label: 'of columns', sizes: { ...odd, dim: 0 }, ...both },
      { op, label: 'of all', sizes: { ...sizes, dim: -1 }, ...both },
    ]),
    ...['permute', 'slice', 'expand', 'cat'].map((op) => ({ op, sizes: stream, ...both })),
    ...['viewed', 'viewSet', 'viewAdded'].map((op) => ({ op, sizes, ...forwardAlone })),
    { op: 'toBf16', sizes: odd, ...both, ...fixed },
    { op: 'toF32', sizes: odd, ...both, ...fixed },
    { op: 'f64Sum', sizes, ...forwardAlone, ...fixed },
    { op: 'intSum', sizes, ...forwardAlone, ...fixed },
    ...['axpy', 'scaleInPlace', 'copy', 'fill'].map((op) => ({ op, sizes: odd, ...forward })),
    ...['uniform', 'normal', 'ones', 'nonFinite', 'sumRows'].map((op) => ({ op, sizes, ...forwardAlone })),
  ];
}

function fused({ seq, batch, hidden, vocab }: ComparedShapes): ComparedOp[] {
  const sizes = { rows: seq * batch, cols: hidden };
  const odd = { rows: seq * batch - 1, cols: hidden + 4 };
  const stream = { seq, batch, cols: hidden, dropout: 0.1 };
  const tokens = { rows: seq * batch, vocab };
  return [
    { op: 'biasAdd', sizes: odd, ...both },
    { op: 'dropout', sizes: stream, ...alone },
    { op: 'biasDropoutAdd', sizes: stream, ...alone },
    ...['biasGelu', 'biasSwiglu', 'biasGeglu'].flatMap((op) =>
      [sizes, odd].map((sizes, at) => ({ op, label: at === 1 ? 'of odd extents' : '', sizes, ...both })),
    ),
    ...['layerNorm', 'rmsNorm', 'addLayerNorm', 'addRmsNorm'].flatMap((op) =>
      [sizes, odd].map((sizes, at) => ({ op, label: at === 1 ? 'of odd extents' : '', sizes, ...both })),
    ),
    { op: 'embedding', sizes: { ...tokens, cols: hidden }, ...both },
    { op: 'crossEntropy', sizes: tokens, ...both },
    { op: 'smoothedCrossEntropy', sizes: tokens, ...alone },
    { op: 'linearCrossEntropy', sizes: { ...tokens, cols: hidden }, ...both },
    { op: 'adamW', sizes: { numel: seq * hidden + 5 }, ...forward, ...fixed },
    { op: 'adamWOfBf16', sizes: { numel: seq * hidden + 5 }, ...forwardAlone, ...fixed },
    { op: 'sumSquares', sizes: { numel: seq * hidden + 5 }, ...forward },
  ];
}

function products({ seq, batch, heads, dim, hidden }: ComparedShapes): ComparedOp[] {
  const sizes = { rows: seq * batch, inputs: hidden, outputs: 3 * hidden };
  const batched = { count: heads, rows: seq, inner: dim, cols: seq };
  return [
    { op: 'linear', sizes, ...both },
    { op: 'linear', label: 'of odd extents', sizes: { rows: seq - 1, inputs: hidden - 3, outputs: hidden + 5 }, ...both },
    { op: 'linearByBf16', sizes, ...alone },
    { op: 'linearInputGradient', sizes, ...forward },
    { op: 'linearWeightGradient', sizes, ...forward },
    { op: 'weightGradientAdded', sizes, ...forwardAlone },
    { op: 'matmul', sizes: batched, ...both },
    { op: 'matmulOfTransposed', sizes: batched, ...alone },
  ];
}

function attentions({ seq, batch, heads, dim }: ComparedShapes): ComparedOp[] {
  const sizes = { seq, batch, heads, dim };
  return [
    { op: 'attention', label: 'causal', sizes: { ...sizes, causal: 1 }, ...both },
    { op: 'attention', label: 'full, odd lengths', sizes: { ...sizes, seq: seq - 5, causal: 0 }, ...both },
    { op: 'attention', label: 'window', sizes: { ...sizes, causal: 1, window: Math.floor(seq / 3) }, ...both },
    { op: 'attention', label: 'twice the channels', sizes: { ...sizes, dim: 2 * dim, causal: 1 }, ...both },
    { op: 'attention', label: 'odd channels', sizes: { ...sizes, dim: dim - 3, causal: 1 }, ...both },
    { op: 'attention', label: 'four times the channels', sizes: { ...sizes, dim: 4 * dim, causal: 1 }, ...both },
    { op: 'attention', label: 'dropout', sizes: { ...sizes, causal: 1, dropout: 0.1 }, ...alone },
    { op: 'groupedAttention', sizes: { ...sizes, keyHeads: heads / 2 }, ...both },
    { op: 'segmentedAttention', sizes, ...alone },
    { op: 'biasedAttention', sizes, ...alone },
    { op: 'crossAttention', sizes: { ...sizes, keys: seq + 7 }, ...alone },
    { op: 'rotary', sizes: { ...sizes, keyHeads: heads / 2, interleaved: 0 }, ...both },
    { op: 'rotary', label: 'interleaved', sizes: { ...sizes, keyHeads: heads, interleaved: 1 }, ...both },
  ];
}

/** Every operation of the engine that is launched on a device, some of them in several ways. */
export function comparedOps(shapes: ComparedShapes): ComparedOp[] {
  return [...products(shapes), ...attentions(shapes), ...fused(shapes), ...plain(shapes)];
}
