import type { DeviceOpSetting } from './device-op.ts';

/** An operation that is timed. */
export interface TimedOp extends DeviceOpSetting {
  /** Name of the row. */
  readonly name: string;
  /** Floating-point operations of a pass, where they bound its speed. */
  readonly flops?: number;
  /** Bytes that a pass must read and write at least, where they do. */
  readonly bytes?: number;
  /** Whether PyTorch has the same. */
  readonly hasPeer: boolean;
}

type Sizes = DeviceOpSetting['sizes'];
type DType = DeviceOpSetting['dtype'];

/** An extent for a fake device: a multiple of 8, as the real one is. */
const cut = (extent: number, scale: number) => (scale === 1 ? extent : Math.max(8, Math.round(extent / scale / 8) * 8));

const widthOf = { f32: 4, bf16: 2 };
const peer = { hasPeer: true, withBackward: false };

function products(scale: number): TimedOp[] {
  const square = cut(8192, scale);
  const linears = { qkv: [2048, 6144], projection: [2048, 2048], up: [2048, 8192], down: [8192, 2048], head: [2048, 50304] };
  const of = (op: string, { rows = 0, inputs = 0, outputs = 0 }: Sizes, dtype: DType, name: string): TimedOp => ({
    name: `${op} ${name} ${dtype}`,
    op,
    sizes: { rows, inputs, outputs },
    dtype,
    flops: 2 * rows * inputs * outputs,
    ...peer,
  });
  return [
    ...(['linear', 'linearInputGradient', 'linearWeightGradient'] as const).flatMap((op) => [
      of(op, { rows: square, inputs: square, outputs: square }, 'bf16', `${square}³`),
      ...Object.entries(linears).map(([name, [inputs = 0, outputs = 0]]) =>
        of(op, { rows: square, inputs: cut(inputs, scale), outputs: cut(outputs, scale) }, 'bf16', `1.3B ${name}`),
      ),
    ]),
    of('linear', { rows: square / 2, inputs: square / 2, outputs: square / 2 }, 'f32', `${square / 2}³`),
  ];
}

function attentions(scale: number): TimedOp[] {
  return [
    { seq: 2048, batch: 4, heads: 16, dim: 128 },
    { seq: 4096, batch: 2, heads: 16, dim: 128 },
    { seq: 8192, batch: 1, heads: 16, dim: 128 },
    { seq: 1024, batch: 16, heads: 12, dim: 64 },
  ].flatMap(({ seq, batch, heads, dim }) =>
    [1, 0].flatMap((causal) =>
      [false, true].map((withBackward): TimedOp => {
        const sizes = { seq: cut(seq, scale), batch, heads: scale === 1 ? heads : 2, dim: scale === 1 ? dim : 12, causal };
        // Half of the scores of a causal attention are not computed; backward computes five products, two of them for the second time.
        const forward = (4 * sizes.batch * sizes.heads * sizes.seq ** 2 * sizes.dim) / (causal === 1 ? 2 : 1);
        const name = `attention ${causal === 1 ? 'causal' : 'full'} s ${seq} d ${dim}${withBackward ? ', forward and backward' : ''} bf16`;
        return { name, op: 'attention', sizes, dtype: 'bf16', withBackward, flops: forward * (withBackward ? 3.5 : 1), hasPeer: true };
      }),
    ),
  );
}

/** How often a pass must touch as many elements as there are in [rows, cols]: forward, then forward and backward. */
const touches: Readonly<Record<string, readonly [forward: number, both: number]>> = {
  biasGelu: [2, 5],
  biasSwiglu: [3, 8],
  biasGeglu: [3, 8],
  layerNorm: [2, 5],
  rmsNorm: [2, 5],
  addLayerNorm: [4, 8],
  addRmsNorm: [4, 8],
  biasAdd: [3, 4],
};

function fused(scale: number): TimedOp[] {
  const dtype = 'bf16' as const;
  const [rows, cols] = [cut(8192, scale), cut(4096, scale)];
  const bytes = rows * cols * widthOf[dtype];
  const rowwise = Object.entries(touches).flatMap(([op, passes]) =>
    passes.map(
      (count, at): TimedOp => ({
        name: `${op}${at === 1 ? ', forward and backward' : ''} ${dtype}`,
        op,
        sizes: { rows, cols },
        dtype,
        withBackward: at === 1,
        bytes: count * bytes,
        hasPeer: true,
      }),
    ),
  );
  const [seq, batch, vocab] = [cut(2048, scale), 4, cut(51200, scale)];
  const numel = cut(2 ** 27, scale ** 2);
  const losses = { rows: cut(4096, scale), vocab }; // of 8192 rows the host would make values for seconds
  const logits = losses.rows * vocab * 2;
  const streams = ['dropout', 'biasDropoutAdd'].map((op): TimedOp => {
    const moved = (op === 'dropout' ? 2 : 3) * seq * batch * cols * 2;
    return { name: `${op} ${dtype}`, op, sizes: { seq, batch, cols, dropout: 0.1 }, dtype, bytes: moved, ...peer };
  });
  const heads = { heads: 32, keyHeads: 8, dim: cut(128, scale) };
  const rotated = seq * batch * 48 * heads.dim * 2;
  return [
    ...rowwise,
    ...streams,
    { name: `rotary ${dtype}`, op: 'rotary', sizes: { seq, batch, ...heads, interleaved: 0 }, dtype, bytes: 2 * rotated, ...peer },
    { name: `embedding ${dtype}`, op: 'embedding', sizes: { rows, vocab, cols }, dtype, bytes: 2 * bytes, ...peer },
    { name: `crossEntropy ${dtype}`, op: 'crossEntropy', sizes: losses, dtype, bytes: logits, ...peer },
    {
      name: `crossEntropy, forward and backward ${dtype}`,
      op: 'crossEntropy',
      sizes: losses,
      dtype,
      withBackward: true,
      bytes: 3 * logits,
      hasPeer: true,
    },
    {
      name: `linearCrossEntropy, forward and backward ${dtype}`,
      op: 'linearCrossEntropy',
      sizes: { rows, vocab, cols: cols / 2 },
      dtype,
      withBackward: true,
      flops: 6 * rows * vocab * (cols / 2),
      hasPeer: true,
    },
    { name: 'adamW f32', op: 'adamW', sizes: { numel }, dtype: 'f32', bytes: 7 * 4 * numel, ...peer },
    { name: 'sumSquares f32', op: 'sumSquares', sizes: { numel }, dtype: 'f32', bytes: 4 * numel, ...peer },
    { name: `add ${dtype}`, op: 'add', sizes: { rows, cols }, dtype, bytes: 3 * bytes, ...peer },
    { name: `silu ${dtype}`, op: 'silu', sizes: { rows, cols }, dtype, bytes: 2 * bytes, ...peer },
    { name: `axpy ${dtype}`, op: 'axpy', sizes: { rows, cols }, dtype, bytes: 3 * bytes, ...peer },
    { name: `sum of rows ${dtype}`, op: 'sum', sizes: { rows, cols, dim: 1 }, dtype, bytes, ...peer },
    { name: `sum of columns ${dtype}`, op: 'sum', sizes: { rows, cols, dim: 0 }, dtype, bytes, ...peer },
    { name: `permute ${dtype}`, op: 'permute', sizes: { seq, batch, cols }, dtype, bytes: 2 * seq * batch * cols * 2, ...peer },
    { name: 'f32 to bf16', op: 'toBf16', sizes: { rows, cols }, dtype: 'f32', bytes: 3 * bytes, ...peer },
    { name: `fill ${dtype}`, op: 'fill', sizes: { rows, cols }, dtype, bytes, ...peer },
    { name: 'an operation of 64 numbers f32', op: 'add', sizes: { rows: 8, cols: 8 }, dtype: 'f32', ...peer },
  ];
}

/** The copy that the other rows' bandwidth is a share of: 2 GiB moved on a device. */
export function copyRow(scale: number): TimedOp {
  const sizes = { rows: cut(16384, scale), cols: cut(16384, scale) };
  return { name: 'copy f32', op: 'copy', sizes, dtype: 'f32', bytes: 2 * 4 * sizes.rows * sizes.cols, ...peer };
}

/** What part 5 times; extents are divided by `scale` on a fake device. */
export function timedOps(scale: number): TimedOp[] {
  return [...products(scale), ...attentions(scale), ...fused(scale)];
}
