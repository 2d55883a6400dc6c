import { type AnyTensor, backward, crossAttention, rotaryEmbedding, scope, slice, type Tensor, tensor } from '@megatron-ts/tensor';
import { expectBitwise, expectClose } from '@megatron-ts/testing';
import { describe, expect, it } from 'vitest';

const wave = (shape: readonly number[], phase = 1): Float32Array =>
  Float32Array.from({ length: shape.reduce((product, extent) => product * extent, 1) }, (_, i) => Math.sin(1.3 * i + phase));
const values = (x: AnyTensor | undefined): Float32Array => x?.toArray() as Float32Array;

const [s, b, a, g, d, r] = [6, 2, 4, 2, 10, 8];
const heads = { numHeads: a, numKeyValueHeads: g, headDim: d };
const shape = [s, b, (a + 2 * g) * d];

/** Cosines, then sines, of `position · 3^-i`. */
function table(rows: number, phase = 0): AnyTensor {
  const turns = (position: number) => Array.from({ length: r / 2 }, (_, i) => (position + phase) * 3 ** -i);
  const row = (position: number) => [...turns(position).map(Math.cos), ...turns(position).map(Math.sin)];
  return tensor(Float32Array.from(Array.from({ length: rows }, (_, position) => row(position)).flat()), [rows, r]);
}

describe('rotaryEmbedding', () => {
  it.each([false, true])('keeps the length of each turned head, and all values (interleaved: %s)', (interleaved) => {
    scope(() => {
      const qkv = tensor(wave(shape), shape) as Tensor;
      const turned = rotaryEmbedding(qkv, { table: table(s), ...heads, interleaved });
      const [before, after] = [values(qkv), values(turned)];
      const width = (a + 2 * g) * d;
      const length = (data: Float32Array, at: number) => Math.hypot(...data.subarray(at, at + r));
      for (let token = 0; token < s * b; token++) {
        for (let head = 0; head < a + g; head++) {
          const at = token * width + head * d;
          expect(length(after, at)).toBeCloseTo(length(before, at), 5);
          expectBitwise(after.subarray(at + r, at + d), before.subarray(at + r, at + d));
        }
        const v = token * width + (a + g) * d;
        expectBitwise(after.subarray(v, v + g * d), before.subarray(v, v + g * d));
      }
      expect(after).not.toEqual(before);
    });
  });

  it('makes scores that know only how far apart two tokens are', () => {
    scope(() => {
      const qkv = tensor(wave(shape), shape) as Tensor;
      const attended = (phase: number) => {
        const turned = rotaryEmbedding(qkv, { table: table(s, phase), ...heads });
        const [q, kv] = [slice(turned, 2, { start: 0, end: a * d }), slice(turned, 2, { start: a * d })];
        return values(crossAttention(q, kv, heads));
      };
      expectClose(attended(0), attended(5), { rtol: 1e-4, atol: 1e-5, because: 'other angles round otherwise' });
    });
  });

  it('takes the row of the table that positions name, forward and backward', () => {
    scope(() => {
      for (const dtype of ['f32', 'bf16'] as const) {
        const leaf = (): Tensor => tensor(wave(shape), shape, { dtype, requiresGrad: true }) as Tensor;
        const [plain, named] = [leaf(), leaf()];
        const positions = tensor(
          Int32Array.from({ length: s * b }, (_, token) => s - 1 - Math.floor(token / b)),
          [s, b],
        );
        const whole = values(table(s));
        const reversed = Float32Array.from(
          Array.from({ length: s }, (_, row) => [...whole.subarray((s - 1 - row) * r, (s - row) * r)]).flat(),
        );
        const results = [
          rotaryEmbedding(plain, { table: tensor(reversed, [s, r]), ...heads }),
          rotaryEmbedding(named, { table: table(s), positions, ...heads }),
        ];
        for (const result of results) backward([result], [tensor(wave(shape, 5), shape, { dtype })]);
        expect(results[1]?.dtype).toBe(dtype);
        expectBitwise(values(results[1]), values(results[0]));
        expectBitwise(values(named.grad), values(plain.grad));
      }
    });
  });

  it('refuses what does not fit, in one sentence', () => {
    scope(() => {
      const qkv = tensor(wave(shape), shape) as Tensor;
      const turn =
        (own: object, x = qkv) =>
        () =>
          rotaryEmbedding(x, { table: table(s), ...heads, ...own });
      expect(turn({ numHeads: 5 })).toThrow(
        'rotaryEmbedding: qkv [6, 2, 80] is not [s, b, (5 + 2 · 2) heads · 10]. Its last extent must be 90.',
      );
      expect(turn({ headDim: 0 })).toThrow('rotaryEmbedding: headDim is 0. Use a whole number of at least 1.');
      expect(turn({ table: tensor(wave([6, 7]), [6, 7]) })).toThrow(
        'rotaryEmbedding: table [6, 7] is not [positions, r]. Give it an even number of columns, at most headDim 10.',
      );
      expect(turn({ table: table(5) })).toThrow('rotaryEmbedding: qkv has 6 positions, but table [5, 8] has 5. Give a longer table.');
      expect(turn({ positions: tensor(new Int32Array(6), [6]) })).toThrow(
        'rotaryEmbedding: positions [6] is not [6, 2]. Give one to each token of qkv.',
      );
      expect(turn({ positions: tensor(new Int32Array(12).fill(6), [6, 2]) })).toThrow(
        'rotary: the position 6 of token 0 of sample 0 is not in the table of 6 positions. Pass a longer table.',
      );
      expect(turn({}, tensor(new Float64Array(960), shape) as Tensor)).toThrow('rotaryEmbedding: qkv is f64[6, 2, 80], not f32 or bf16.');
    });
  });
});
