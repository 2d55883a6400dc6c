import {
  add,
  addLayerNorm,
  addRmsNorm,
  type AnyTensor,
  backward,
  biasAdd,
  biasGeglu,
  biasSwiglu,
  crossEntropy,
  gelu,
  layerNorm,
  linear,
  mul,
  Parameter,
  rmsNorm,
  scope,
  selfAttention,
  type Shape,
  shardedLinearCrossEntropy,
  silu,
  slice,
  sum,
  type Tensor,
  tensor,
} from '@megatron-ts/tensor';
import { expectBitwise, expectClose, expectRelativeL2 } from '@megatron-ts/testing';
import { describe, expect, it } from 'vitest';

const numel = (shape: Shape): number => shape.reduce((product, extent) => product * extent, 1);
const wave = (shape: Shape, phase: number, size = 1): Float32Array =>
  Float32Array.from({ length: numel(shape) }, (_, i) => size * Math.sin(1.3 * i + phase));
const leaf = (shape: Shape, phase: number, size = 1): AnyTensor => tensor(wave(shape, phase, size), shape, { requiresGrad: true });
const values = (x: AnyTensor | undefined): Float32Array => x?.toArray() as Float32Array;
const otherOrder = 'rows are added in another order';

/** Results and gradients of the leaves, for weighted sums of all results. */
function run(leaves: readonly AnyTensor[], f: (...leaves: AnyTensor[]) => readonly AnyTensor[]): Float32Array[] {
  const outputs = f(...leaves);
  backward(
    outputs,
    outputs.map((output, i) => tensor(wave(output.shape, 7 + i), output.shape)),
  );
  return [...outputs, ...leaves.map(({ grad }) => grad)].map((result) => values(result as AnyTensor));
}

describe('norms of a sum against their plain twins', () => {
  const make = () => [leaf([5, 3, 40], 1), leaf([5, 3, 40], 2), leaf([40], 3), leaf([40], 4), leaf([40], 5)];

  it('addLayerNorm: sum, norm and gradients have the same bits, that of the added bias is close', () => {
    scope(() => {
      const fused = run(make(), (x, residual, weight, bias, addedBias) => {
        const { sum, normed } = addLayerNorm(x as Tensor, { residual: residual as Tensor, weight, bias, addedBias } as never);
        return [sum, normed];
      });
      const plain = run(make(), (x, residual, weight, bias, addedBias) => {
        const sum = add(residual as Tensor, add(x as Tensor, addedBias as Tensor));
        return [sum, layerNorm(sum, { weight: weight as AnyTensor, bias: bias as AnyTensor })];
      });
      fused.slice(0, -1).forEach((result, i) => expectBitwise(result, plain[i] ?? []));
      expectRelativeL2(fused.at(-1) ?? [], plain.at(-1) ?? [], { limit: 1e-6, because: otherOrder });
    });
  });

  it('addRmsNorm: sum, norm and gradients have the same bits', () => {
    scope(() => {
      const fused = run(make().slice(0, 3), (x, residual, weight) => {
        const { sum, normed } = addRmsNorm(x as Tensor, { residual: residual as Tensor, weight: weight as AnyTensor });
        return [sum, normed];
      });
      const plain = run(make().slice(0, 3), (x, residual, weight) => {
        const sum = add(residual as Tensor, x as Tensor);
        return [sum, rmsNorm(sum, { weight: weight as AnyTensor })];
      });
      fused.forEach((result, i) => expectBitwise(result, plain[i] ?? []));
    });
  });

  it('biasAdd: the sum and the gradients of what is added have the same bits, that of the bias is close', () => {
    scope(() => {
      const leaves = () => [leaf([70, 2, 33], 1), leaf([70, 2, 33], 2), leaf([33], 3)];
      const fused = run(leaves(), (x, residual, bias) => [biasAdd(x as Tensor, bias, residual as Tensor)]);
      const plain = run(leaves(), (x, residual, bias) => [add(residual as Tensor, add(x as Tensor, bias as Tensor))]);
      fused.slice(0, -1).forEach((result, i) => expectBitwise(result, plain[i] ?? []));
      expectRelativeL2(fused.at(-1) ?? [], plain.at(-1) ?? [], { limit: 1e-6, because: otherOrder });
    });
  });

  it('a residual or a bias that does not fit is named', () => {
    scope(() => {
      const [x, weight] = [leaf([2, 3], 1), leaf([3], 2)];
      expect(() => addRmsNorm(x, { residual: leaf([3, 2], 1), weight })).toThrow(
        'rmsNorm: x [2, 3] and residual [3, 2] differ. Give both the same shape.',
      );
      expect(() => biasAdd(x, leaf([2], 1))).toThrow('biasAdd: x [2, 3], bias [2] and residual (none) do not fit.');
    });
  });
});

describe('gated activations against their plain twins', () => {
  it.each([
    ['biasSwiglu', biasSwiglu, silu],
    ['biasGeglu', biasGeglu, gelu],
  ] as const)('%s is close in values and gradients', (_, fused, activation) => {
    scope(() => {
      const leaves = () => [leaf([9, 2, 44], 1, 3), leaf([44], 2)];
      const own = run(leaves(), (x, bias) => [fused(x as Tensor, bias)]);
      const plain = run(leaves(), (x, bias) => {
        const wide = add(x as Tensor, bias as Tensor);
        return [mul(activation(slice(wide, -1, { start: 0, end: 22 })), slice(wide, -1, { start: 22, end: 44 }))];
      });
      own.forEach((result, i) => expectRelativeL2(result, plain[i] ?? [], { limit: 1e-6, because: otherOrder }));
    });
  });
});

describe('linearCrossEntropy', () => {
  const whole = { firstColumn: 0, vocabSize: 20_000, maximum: () => undefined, sum: () => undefined };
  // 1200 rows of 20,000 logits are three chunks.
  const [rows, hidden, vocab] = [1200, 8, 20_000];
  const targets = () =>
    tensor(
      Int32Array.from({ length: rows }, (_, i) => (i * 7919) % vocab),
      [rows],
    );
  const x = (phase = 1) => leaf([rows, hidden], phase);
  const weight = () => leaf([vocab, hidden], 2);
  const fused = (input: AnyTensor, w: AnyTensor, to = targets()) => shardedLinearCrossEntropy(input, w, to, { shards: whole });
  const close = { limit: 1e-6, because: 'the sum over tokens is cut at chunks' };

  function parameter(): Parameter {
    const made = new Parameter({ shape: [vocab, hidden], init: { kind: 'normal', std: 0.5 } });
    made.initialize('head', { seed: 1, device: 'cpu', coordinates: () => ({ size: 1, rank: 0 }) });
    return made;
  }

  it.each([
    ['one gradient for all losses', () => tensor(new Float32Array(rows).fill(0.25), [rows])],
    ['a gradient for each', () => tensor(wave([rows], 3), [rows])],
  ])('has the losses and input gradients of the two operations, and a close weight gradient: %s', (_, grad) => {
    scope(() => {
      const [a, b] = [
        [x(), weight()],
        [x(), weight()],
      ] as [[Tensor, Tensor], [Tensor, Tensor]];
      const own = fused(...a);
      const plain = crossEntropy(linear(...b), targets());
      expectBitwise(values(own), values(plain));
      backward([own], [grad()]);
      backward([plain], [grad()]);
      expectRelativeL2(values(a[0].grad), values(b[0].grad), close);
      expectRelativeL2(values(a[1].grad), values(b[1].grad), close);
    });
  });

  it('leaves out ignored tokens', () => {
    scope(() => {
      const to = tensor(
        Int32Array.from({ length: rows }, (_, i) => (i % 3 === 0 ? -100 : i)),
        [rows],
      );
      const [input, w] = [x(), weight()];
      const own = shardedLinearCrossEntropy(input, w, to, { shards: whole, ignoreIndex: -100 });
      backward([sum(own)]);
      const kept = values(own).filter((_, i) => i % 3 !== 0);
      expect(values(own).filter((_, i) => i % 3 === 0)).toEqual(new Float32Array(rows / 3));
      expect(kept.every((loss) => loss > 0)).toBe(true);
      const rowsOfGrad = values(input.grad);
      expect(rowsOfGrad.subarray(0, hidden)).toEqual(new Float32Array(hidden));
      expect(rowsOfGrad.subarray(hidden, 2 * hidden)).not.toEqual(new Float32Array(hidden));
    });
  });

  it('gives a parameter the same bits whether its forwards wait for each other or not', () => {
    scope(() => {
      const inOrder = parameter();
      for (const phase of [1, 5, 9]) backward([sum(fused(x(phase), inOrder))]);
      const waiting = parameter();
      const losses = [1, 5, 9].map((phase) => sum(fused(x(phase), waiting)));
      for (const loss of losses) backward([loss]);
      expectBitwise(values(waiting.grad), values(inOrder.grad));
      inOrder.dispose();
      waiting.dispose();
    });
  });

  it('writes the gradient of a parameter where it belongs, scaled by that of the loss', () => {
    scope(() => {
      const head = parameter();
      backward([sum(fused(x(), head)).div(rows)]);
      const first = values(head.grad);
      backward([sum(fused(x(), head)).div(rows)]);
      expectClose(
        values(head.grad),
        first.map((g) => 2 * g),
        { rtol: 1e-6, atol: 1e-12, because: 'a product and a sum are rounded apart' },
      );
      head.dispose();
    });
  });

  it('leaves no trace of a forward without a backward', () => {
    scope(() => {
      const [dropped, clean] = [parameter(), parameter()];
      scope(() => void fused(x(4), dropped));
      expect(dropped.grad).toBeUndefined();
      backward([sum(fused(x(), dropped))]);
      backward([sum(fused(x(), clean))]);
      expectBitwise(values(dropped.grad), values(clean.grad));
      dropped.dispose();
      clean.dispose();
    });
  });

  it('computes anew what another use of the parameter has overwritten', () => {
    scope(() => {
      const head = parameter();
      const losses = fused(x(), head);
      const other = linear(tensor(wave([2, hidden], 8), [2, hidden]), head as never);
      backward([sum(other)]);
      const before = values(head.grad);
      backward([sum(losses)]);
      const alone = parameter();
      backward([sum(fused(x(), alone))]);
      expectClose(
        values(head.grad),
        values(alone.grad).map((g, i) => g + (before[i] ?? 0)),
        { rtol: 1e-5, atol: 1e-5, because: 'a product and a sum are rounded apart' },
      );
      head.dispose();
      alone.dispose();
    });
  });

  it('refuses operands that do not fit', () => {
    scope(() => {
      expect(() => fused(leaf([4, 3], 1), leaf([5, 2], 1), tensor(new Int32Array(4), [4]))).toThrow(
        'linearCrossEntropy: x [4, 3], weight [5, 2] and targets [4] are not […, h], [v, h] and […].',
      );
    });
  });
});

describe('dropout of attention', () => {
  const [seq, batch, heads, dim] = [70, 3, 4, 8];
  const options = { numHeads: heads, causal: true };
  const dropout = { p: 0.3, key: [11, 12] as const };
  const qkv = () => leaf([seq, batch, 3 * heads * dim], 1);
  const attend = (x: AnyTensor, own: object) => selfAttention(x as Tensor, { ...options, ...own });

  it('draws the same again for one key, and other values for another', () => {
    scope(() => {
      const [a, b, c] = [dropout, dropout, { ...dropout, key: [11, 13] as const }].map((own) =>
        run([qkv()], (x) => [attend(x as AnyTensor, { dropout: own })]),
      );
      a?.forEach((result, i) => expectBitwise(result, b?.[i] ?? []));
      expect(a?.[0]).not.toEqual(c?.[0]);
    });
  });

  it('depends on neither how heads nor how samples are dealt to ranks', () => {
    scope(() => {
      const x = qkv();
      const out = attend(x, { dropout });
      const part = (width: number, [first, last]: readonly [number, number]) =>
        [0, 1, 2].map((third) =>
          slice(x as Tensor, 2, { start: third * heads * dim + first * width, end: third * heads * dim + last * width }),
        );
      const lastHeads = tensor(joined(part(dim, [2, 4])), [seq, batch, 3 * 2 * dim]);
      const own = selfAttention(lastHeads, { numHeads: 2, causal: true, dropout: { ...dropout, firstHead: 2 } });
      expectBitwise(values(own), values(slice(out, 2, { start: 2 * dim, end: 4 * dim })));
      const lastSample = selfAttention(slice(x as Tensor, 1, { start: 2, end: 3 }), {
        ...options,
        dropout: { ...dropout, firstSample: 2 },
      });
      expectBitwise(values(lastSample), values(slice(out, 1, { start: 2, end: 3 })));
    });
  });

  it('refuses shares and windows that make no sense', () => {
    scope(() => {
      expect(() => attend(qkv(), { dropout: { ...dropout, p: 1 } })).toThrow(
        'selfAttention: dropout is 1. Use a number from 0 to below 1.',
      );
      expect(() => attend(qkv(), { window: 0 })).toThrow('selfAttention: window is 0 with causal true. Use a whole number of at least 1');
    });
  });

  /** Thirds `[s, b, w]` side by side. */
  function joined(parts: readonly AnyTensor[]): Float32Array {
    const arrays = parts.map(values);
    const width = (arrays[0]?.length ?? 0) / (seq * batch);
    return Float32Array.from(
      Array.from({ length: seq * batch }, (_, row) =>
        arrays.flatMap((array) => [...array.subarray(row * width, (row + 1) * width)]),
      ).flat(),
    );
  }
});
