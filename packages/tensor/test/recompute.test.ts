import {
  add,
  type AnyTensor,
  backward,
  biasGelu,
  copyInto,
  dropout,
  type GradSynchronizer,
  gelu,
  layerNorm,
  linear,
  memoryStats,
  Module,
  mul,
  noGrad,
  Parameter,
  recompute,
  remakeable,
  scope,
  selfAttention,
  Tape,
  tensor,
  type Tensor,
  tanh,
} from '@megatron-ts/tensor';
import { expectBitwise } from '@megatron-ts/testing';
import { describe, expect, it } from 'vitest';

const context = { seed: 1, device: 'cpu', coordinates: () => ({ size: 1, rank: 0 }) };
const numbers = (count: number, seed = 1) => Array.from({ length: count }, (_, i) => Math.sin(12.9 * (i + 1) + 78.2 * seed));
const liveBytes = () => memoryStats().byCategory.activations.liveBytes;

class Block extends Module {
  readonly up = new Parameter({ shape: [16, 8], init: { kind: 'normal', std: 0.5 } });
  readonly bias = new Parameter({ shape: [16] });
  readonly down = new Parameter({ shape: [8, 16], init: { kind: 'normal', std: 0.5 } });

  override forward(x: Tensor): Tensor {
    const wide = biasGelu(linear(x, this.up), this.bias); // [s, b, 16]
    return add(x, dropout(linear(wide, this.down), { p: 0.25, key: [7, 9] })); // [s, b, 8]
  }
}

/** Runs `f` and its backward; the gradients of a leaf `[4, 2, 8]` and of all parameters. */
function gradients(module: Module, f: (x: Tensor) => AnyTensor): Float32Array[] {
  module.zeroGrad();
  return scope(() => {
    const x = tensor(numbers(64), [4, 2, 8], { requiresGrad: true });
    const y = f(x);
    backward([y], [tensor(numbers(y.numel, 2), y.shape)]);
    return [x.grad, ...module.parameters().map(({ grad }) => grad)].map((grad) => (grad as AnyTensor).toArray() as Float32Array);
  });
}

function expectSame(actual: readonly Float32Array[], expected: readonly Float32Array[]): void {
  expect(actual.length).toBe(expected.length);
  actual.forEach((values, i) => expectBitwise(values, expected[i] ?? []));
}

describe('recompute', () => {
  const block = new Block().initialize(context);

  it('gives the bits of gradients that are there without it, also where the input has other readers', () => {
    const around = (f: (x: Tensor) => Tensor) => (x: Tensor) => {
      const before = tanh(x);
      return mul(add(f(before), before), before);
    };
    const plain = gradients(
      block,
      around((x) => block.call(x)),
    );
    expectSame(
      gradients(
        block,
        around((x) => recompute((y: Tensor) => block.call(y), [x])),
      ),
      plain,
    );
    const nested = (x: Tensor) => recompute((y: Tensor) => recompute((z: Tensor) => block.call(z), [y]), [x]);
    expectSame(gradients(block, around(nested)), plain);
  });

  it('keeps the inputs alone, and gives up everything in backward', () => {
    const before = liveBytes();
    scope(() => {
      const x = tensor(numbers(64), [4, 2, 8], { requiresGrad: true });
      const start = liveBytes();
      const y = recompute((z: Tensor) => block.call(block.call(z)), [x]);
      expect(liveBytes() - start).toBe(y.bytes);
      backward([y], [y.detach()]);
      expect(liveBytes() - start).toBe(y.bytes + x.bytes); // the gradient of x
    });
    expect(liveBytes()).toBe(before);
  });

  it('takes several inputs and gives several outputs, of which some may be unused or inputs themselves', () => {
    const two = (x: Tensor, factor: Tensor): [Tensor, Tensor, Tensor] => [x, mul(x, factor), gelu(x)];
    const run = (f: (x: Tensor, factor: Tensor) => [Tensor, Tensor, Tensor]) =>
      gradients(block, (x) => {
        const [same, scaled] = f(x, tensor([2], [1], { requiresGrad: true }));
        return add(block.call(same), scaled);
      });
    expectSame(
      run((x, factor) => recompute(two, [x, factor])),
      run(two),
    );
  });

  it('gives gradients to tensors that the function reads without being given them', () => {
    const run = (wrap: (f: () => Tensor) => Tensor) =>
      gradients(block, (x) => {
        const hidden = gelu(x);
        return wrap(() => block.call(hidden));
      });
    expectSame(
      run((f) => recompute(f, [])),
      run((f) => f()),
    );
  });

  it('records nothing where nothing needs a gradient', () => {
    scope(() => {
      const x = tensor(numbers(64), [4, 2, 8]);
      expect(recompute((y: Tensor) => gelu(y), [x]).requiresGrad).toBe(false);
      expect(noGrad(() => recompute((y: Tensor) => block.call(y), [x])).requiresGrad).toBe(false);
      expect(recompute((y: Tensor) => block.call(y), [x]).requiresGrad).toBe(true);
    });
  });

  it('tells a parameter once that its gradient is ready, after its last use, and defers weight gradients with the rest', () => {
    const ready: string[] = [];
    const synchronizer: GradSynchronizer = { gradReady: ({ name }) => void ready.push(name), finish: () => undefined };
    for (const parameter of block.parameters()) parameter.synchronizer = synchronizer;
    const plain = gradients(block, (x) => block.call(block.call(x)));
    ready.length = 0;
    const once = gradients(block, (x) => block.call(recompute((y: Tensor) => block.call(y), [x])));
    expect(ready.sort()).toEqual(['bias', 'down', 'up']);
    expectSame(once, plain);
    ready.length = 0;
    block.zeroGrad();
    scope(() => {
      const tape = new Tape();
      tape.deferWeightGradients = true;
      const x = tensor(numbers(64), [4, 2, 8], { requiresGrad: true });
      const y = tape.run(() => [0, 1].reduce((z: Tensor) => recompute((v: Tensor) => block.call(v), [z]), x));
      backward([y], [tensor(numbers(y.numel, 2), y.shape)]);
      expect(ready).toEqual(['bias']);
      tape.runWeightGradients();
      expect(ready.sort()).toEqual(['bias', 'down', 'up']);
      tape.dispose();
      expectSame(
        [x.grad, ...block.parameters().map(({ grad }) => grad)].map((grad) => (grad as AnyTensor).toArray() as Float32Array),
        plain,
      );
    });
    for (const parameter of block.parameters()) parameter.synchronizer = undefined;
  });

  it('runs again in the module call, and enters and leaves modules around backward as often as without', () => {
    const seen: string[] = [];
    const outer = new (class Outer extends Module {
      readonly inner = block;
      readonly again: boolean = true;
      override forward(x: Tensor): Tensor {
        return recompute((y: Tensor) => this.inner.call(y), [x]);
      }
    })().initialize(context);
    outer.hooks.beforeBackward = () => void seen.push('enter outer');
    outer.hooks.afterBackward = () => void seen.push('leave outer');
    block.hooks.beforeBackward = ({ path }) => void seen.push(`enter ${path}`);
    block.hooks.afterBackward = ({ path }) => void seen.push(`leave ${path}`);
    gradients(outer, (x) => outer.call(x));
    expect(seen).toEqual(['enter outer', 'enter inner', 'leave inner', 'leave outer']);
    block.hooks.beforeBackward = block.hooks.afterBackward = () => undefined;
  });

  it('is refused a function that is not synchronous', () => {
    const wrong = (async (x: Tensor) => Promise.resolve(x)) as unknown as (x: Tensor) => Tensor;
    scope(() => expect(() => recompute(wrong, [tensor([1])])).toThrow('scope: the callback returned a promise'));
  });
});

describe('a result that is made again', () => {
  const weight = new Parameter({ shape: [8, 8], init: { kind: 'normal', std: 0.5 } });
  weight.initialize('weight', context);
  const norm = { weight: tensor(numbers(8)), bias: tensor(numbers(8, 3)) };

  it('lets its memory go with its scope, and backward has the same bits', () => {
    const made: number[] = [];
    const normed = (x: Tensor, again: boolean): Tensor => {
      const y = layerNorm(x, norm);
      const make = (): [Tensor] => (made.push(1), [layerNorm(x, norm)]);
      return again ? remakeable([y] as const, { make, inputs: [x] })[0] : y;
    };
    const run = (again: boolean) =>
      scope(() => {
        weight.zeroGrad();
        const x = tensor(numbers(64), [4, 2, 8], { requiresGrad: true });
        const before = liveBytes();
        const y = scope(() => linear(normed(x, again), weight));
        const saved = liveBytes() - before - y.bytes;
        backward([y], [tensor(numbers(64, 2), [4, 2, 8])]);
        return { saved, gradients: [x.grad, weight.grad].map((grad) => (grad as AnyTensor).toArray() as Float32Array) };
      });
    const [plain, remade] = [run(false), run(true)];
    expect(made).toEqual([1]);
    expect(plain.saved - remade.saved).toBe(64 * 4);
    expectSame(remade.gradients, plain.gradients);
  });

  it('may be read and kept as any other, and is refused after its last owner', () => {
    scope(() => {
      const x = tensor([1, 2], [2], { requiresGrad: true });
      const [y] = scope(() => remakeable([mul(x, 2)] as const, { make: () => [mul(x, 2)], inputs: [x] }));
      expect([...y.toArray()]).toEqual([2, 4]);
      const z = scope(() => {
        const [inner] = remakeable([mul(x, 3)] as const, { make: () => [mul(x, 3)], inputs: [x] });
        return inner.retain() && [inner];
      })[0] as Tensor;
      z.release();
      expect([...z.toArray()]).toEqual([3, 6]);
      z.dispose();
      expect(() => z.handle).toThrow('used after its scope closed or after dispose');
    });
  });

  it('of attention: neither the result nor the log-sum-exp is kept, and both are made again once', () => {
    const run = (again: boolean) =>
      scope(() => {
        weight.zeroGrad();
        const qkv = tensor(numbers(4 * 2 * 24), [4, 2, 24], { requiresGrad: true });
        const before = liveBytes();
        const dropped = { p: 0.3, key: [3, 4] } as const;
        const y = scope(() => linear(selfAttention(qkv, { numHeads: 2, causal: true, dropout: dropped, recompute: again }), weight));
        const saved = liveBytes() - before - y.bytes;
        backward([y], [tensor(numbers(64, 2), [4, 2, 8])]);
        return { saved, gradients: [qkv.grad, weight.grad].map((grad) => (grad as AnyTensor).toArray() as Float32Array) };
      });
    const [plain, remade] = [run(false), run(true)];
    expect(plain.saved).toBe((64 + 2 * 2 * 4) * 4);
    expect(remade.saved).toBe(0);
    expectSame(remade.gradients, plain.gradients);
    copyInto(weight, weight);
  });
});
