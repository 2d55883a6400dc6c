import {
  add,
  crossAttention,
  crossEntropy,
  engine,
  gt,
  linear,
  matmul,
  ones,
  rotaryEmbedding,
  selfAttention,
  sum,
  Tensor,
  to,
  transpose,
} from '@megatron-ts/tensor';
import type { BodyOf } from '../ops/body.ts';
import type { Inputs } from '../ops/values.ts';

const small = { scale: 0.02 };
const undifferentiated = { isDifferentiated: false } as const;

/** Angles of every position: a table of the form that `rotaryEmbedding` takes, of values between -1 and 1. */
function angles(inputs: Inputs, seq: number, dim: number) {
  return inputs.make([seq, dim], { dtype: 'f32', ...undifferentiated });
}

const randomOf =
  (kind: 0 | 1): BodyOf =>
  (inputs, { rows = 0, cols = 0 }) => {
    const target = inputs.make([rows, cols]);
    const layout = Float64Array.of(2, rows, cols, cols, 1, 0, cols, 1, 0);
    return () => {
      engine.fillRandom(target.handle, kind, 0.25, 1.5, layout, 7, 11);
      return target;
    };
  };

/** Operations on a device that the bench `ops` does not time: other kernels, or other ways through one. */
export const moreBodies: Readonly<Record<string, BodyOf>> = {
  uniform: randomOf(0),
  normal: randomOf(1),
  ones:
    (_, { rows = 0, cols = 0 }) =>
    () =>
      ones([rows, cols]),
  f64Sum: (inputs, { rows = 0, cols = 0 }) => {
    const x = inputs.make([rows, cols], undifferentiated);
    return () => to(sum(to(x, 'f64'), 1), 'f32');
  },
  compareWithNumber: (inputs, { rows = 0, cols = 0 }) => {
    const x = inputs.make([rows, cols], undifferentiated);
    return () => to(gt(x, 0.25), 'f32');
  },
  intSum: (inputs, { rows = 0, cols = 0 }) => {
    const [a, b] = [inputs.indices([rows, cols], 1000), inputs.indices([rows, cols], 1000)];
    return () => to(add(a, b), 'f32');
  },
  nonFinite: (inputs, { rows = 0, cols = 0 }) => {
    const x = inputs.make([rows, cols]);
    return () => engine.nonFinite(x.handle);
  },
  sumRows: (inputs, { rows = 0, cols = 0 }) => {
    const [x, sums] = [inputs.make([rows, cols]), inputs.make([cols], { dtype: 'f32', ...undifferentiated })];
    return () => {
      engine.sumRows(x.handle, rows, cols, sums.handle, true);
      return sums;
    };
  },
  adamWOfBf16: (inputs, { numel = 0 }) => {
    const [values, grad] = [inputs.make([numel], { dtype: 'f32' }), inputs.make([numel], { dtype: 'f32' })];
    const [mean, square] = [inputs.make([numel], { dtype: 'f32', scale: 0 }), inputs.make([numel], { dtype: 'f32', scale: 0 })];
    const model = inputs.make([numel], { dtype: 'bf16' });
    const hyper = inputs.given([3e-4, 0.9, 0.95, 1e-8, 0.1, 1 - 0.9, 1 - 0.95, 1, 1]);
    const handles = Uint32Array.from([values, grad, mean, square], ({ handle }) => handle);
    return () => {
      engine.adamW(handles, Uint32Array.of(hyper.handle), Uint32Array.of(model.handle));
      return [values, mean, square, model];
    };
  },
  linearByBf16: (inputs, { rows = 0, inputs: width = 0, outputs = 0 }) => {
    const [x, weight] = [inputs.make([rows, width]), inputs.make([outputs, width], small)];
    return () => linear(x, weight, undefined, { computeDType: 'bf16' });
  },
  matmulOfTransposed: (inputs, { count = 0, rows = 0, inner = 0, cols = 0 }) => {
    const [a, b] = [inputs.make([count, rows, inner]), inputs.make([count, cols, inner])];
    return () => matmul(a, transpose(b, 1, 2));
  },
  weightGradientAdded: (inputs, { rows = 0, inputs: width = 0, outputs = 0 }) => {
    const [grad, x] = [inputs.make([rows, outputs]), inputs.make([rows, width])];
    const target = inputs.make([outputs, width], { dtype: 'f32' });
    const layout = Uint32Array.of(1, outputs, width, rows, 0, 0, 1, 0);
    return () => {
      engine.matmulInto(target.handle, grad.handle, x.handle, layout, true);
      return target;
    };
  },
  rotary: (inputs, { seq = 0, batch = 0, heads = 0, keyHeads = 0, dim = 0, interleaved = 0 }) => {
    const qkv = inputs.make([seq, batch, (heads + 2 * keyHeads) * dim]);
    const table = angles(inputs, seq, dim);
    const options = { table, numHeads: heads, numKeyValueHeads: keyHeads, headDim: dim, interleaved: interleaved === 1 };
    return () => rotaryEmbedding(qkv, options);
  },
  groupedAttention: (inputs, { seq = 0, batch = 0, heads = 0, keyHeads = 0, dim = 0 }) => {
    const qkv = inputs.make([seq, batch, (heads + 2 * keyHeads) * dim]);
    return () => selfAttention(qkv, { numHeads: heads, numKeyValueHeads: keyHeads, causal: true });
  },
  segmentedAttention: (inputs, { seq = 0, batch = 0, heads = 0, dim = 0 }) => {
    const [qkv, segments] = [inputs.make([seq, batch, 3 * heads * dim]), inputs.indices([seq, batch], 2)];
    return () => selfAttention(qkv, { numHeads: heads, causal: true, segments });
  },
  biasedAttention: (inputs, { seq = 0, batch = 0, heads = 0, dim = 0 }) => {
    const [qkv, bias] = [inputs.make([seq, batch, 3 * heads * dim]), inputs.make([heads, seq, seq], { dtype: 'f32' })];
    return () => selfAttention(qkv, { numHeads: heads, causal: true, bias });
  },
  crossAttention: (inputs, { seq = 0, keys = 0, batch = 0, heads = 0, dim = 0 }) => {
    const [q, kv] = [inputs.make([seq, batch, heads * dim]), inputs.make([keys, batch, 2 * heads * dim])];
    return () => crossAttention(q, kv, { numHeads: heads });
  },
  smoothedCrossEntropy: (inputs, { rows = 0, vocab = 0 }) => {
    const [logits, targets] = [inputs.make([rows, vocab]), inputs.indices([rows], vocab)];
    return () => crossEntropy(logits, targets, { labelSmoothing: 0.1, zLoss: 1e-2, ignoreIndex: 1 });
  },
  viewed: (inputs, { rows = 0, cols = 0 }) => {
    const x = inputs.make([rows, cols], undifferentiated);
    const [shape, everySecond] = [[rows, cols / 2], Uint32Array.of(2, rows, cols / 2, cols, 2)];
    return () => new Tensor(engine.strided(x.handle, everySecond, 1), { shape, dtype: x.dtype, placement: 'replicated' });
  },
  viewSet: (inputs, { rows = 0, cols = 0 }) => {
    const [x, source] = [inputs.make([rows, cols], undifferentiated), inputs.make([rows, cols / 2], undifferentiated)];
    const everySecond = Uint32Array.of(2, rows, cols / 2, cols, 2);
    return () => {
      engine.stridedSet(x.handle, source.handle, everySecond, 1);
      return x;
    };
  },
  viewAdded: (inputs, { rows = 0, cols = 0 }) => {
    const [row, source] = [inputs.make([cols], undifferentiated), inputs.make([rows, cols], undifferentiated)];
    const allRowsAtOnce = Uint32Array.of(2, rows, cols, 0, 1);
    return () => {
      engine.stridedAdd(row.handle, source.handle, allRowsAtOnce, 0);
      return row;
    };
  },
};
