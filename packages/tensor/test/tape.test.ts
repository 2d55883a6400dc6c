import {
  backward,
  biasGelu,
  copyInto,
  defineOp,
  embedding,
  type GradSynchronizer,
  layerNorm,
  linear,
  matmul,
  memoryStats,
  Module,
  Parameter,
  scope,
  Tape,
  tensor,
  type Tensor,
} from '@megatron-ts/tensor';
import { describe, expect, it } from 'vitest';

const numbers = (x: { toArray(): unknown } | undefined) => (x === undefined ? undefined : [...(x.toArray() as Float32Array)]);
const leaf = (values: number[], shape = [values.length]) => tensor(values, shape, { requiresGrad: true });
const context = { seed: 1, device: 'cpu', coordinates: () => ({ size: 1, rank: 0 }) };

function parameter(name: string, values: number[], shape = [values.length]): Parameter {
  const made = new Parameter({ shape });
  made.initialize(name, context);
  scope(() => copyInto(made, tensor(values, shape)));
  return made;
}

describe('gradients', () => {
  it('of a tensor that is used several times are summed', () => {
    scope(() => {
      const x = leaf([2, 3]);
      const y = x.mul(x).add(x).add(x.mul(4)); // x² + 5 x
      y.sum().backward();
      expect(numbers(x.grad)).toEqual([9, 11]);
    });
  });

  it('of an intermediate result that is used several times are summed once each', () => {
    scope(() => {
      const x = leaf([1, 2]);
      const h = x.mul(3);
      h.mul(h).add(h).add(h).sum().backward(); // 9 x² + 6 x
      expect(numbers(x.grad)).toEqual([24, 42]);
    });
  });

  it('of two branches that meet do not run into each other', () => {
    scope(() => {
      const [a, b] = [leaf([1, 2]), leaf([3, 4])];
      const s = a.add(b); // both operands get the same gradient tensor
      s.sum().add(a.sum()).backward();
      expect(numbers(a.grad)).toEqual([2, 2]);
      expect(numbers(b.grad)).toEqual([1, 1]);
      s.detach();
    });
  });

  it('accumulate on a leaf over several backwards until zeroGrad', () => {
    scope(() => {
      const x = leaf([1, 2]);
      x.sum().backward();
      x.square().sum().backward();
      expect(numbers(x.grad)).toEqual([3, 5]);
      x.zeroGrad();
      expect(x.grad).toBeUndefined();
    });
  });

  it('start from given ones, for several outputs at once', () => {
    scope(() => {
      const x = leaf([1, 2]);
      backward([x.mul(2), x.square()], [tensor([1, 10]), tensor([100, 1000])]);
      expect(numbers(x.grad)).toEqual([202, 4020]);
    });
  });

  it('do not pass detach', () => {
    scope(() => {
      const x = leaf([1, 2]);
      x.detach().mul(5).add(x).sum().backward();
      expect(numbers(x.grad)).toEqual([1, 1]);
    });
  });

  it('stay away from tensors that ask for none', () => {
    scope(() => {
      const [x, y] = [leaf([1, 2]), tensor([3, 4])];
      x.mul(y).sum().backward();
      expect(y.grad).toBeUndefined();
    });
  });

  it('of a scalar exist without an argument only', () => {
    scope(() => {
      expect(() => leaf([1, 2]).mul(2).backward()).toThrow(expect.objectContaining({ code: 'NOT_A_SCALAR' }));
    });
  });

  it('of the wrong shape are refused by name', () => {
    scope(() => {
      const x = leaf([1, 2]);
      expect(() => backward([x.mul(2)], [tensor([1, 2, 3])])).toThrow(
        'backward: a gradient of shape [3] for a tensor of shape [2]. Return gradients of the shape of each argument.',
      );
    });
  });

  it('of a tensor that depends on nothing that wants one are refused with the remedy', () => {
    scope(() => {
      expect(() => tensor([1]).mul(2).backward()).toThrow('backward: nothing below this tensor asks for a gradient.');
    });
  });
});

describe('a graph', () => {
  it('serves two backwards from different roots', () => {
    scope(() => {
      const [x, y] = [leaf([1, 2]), leaf([3])];
      const [first, second] = [x.square().sum(), y.square().add(x.sum()).sum()];
      first.backward();
      second.backward();
      expect(numbers(x.grad)).toEqual([3, 5]);
      expect(numbers(y.grad)).toEqual([6]);
    });
  });

  it('that an earlier backward consumed is refused by name, not differentiated in part', () => {
    scope(() => {
      const x = leaf([1, 2]);
      const h = x.square();
      const [first, second] = [h.sum(), h.mul(3).sum()];
      first.backward();
      expect(() => second.backward()).toThrow(
        /^backward of mul: the graph below it, made by square, was consumed by an earlier backward or dropped with its scope\. /,
      );
      expect(() => first.backward()).toThrow(/^backward: the graph below it, made by sum, was consumed/);
    });
  });

  it('whose scope has closed is refused by name', () => {
    scope(() => {
      const x = leaf([1, 2]);
      const tape = new Tape();
      const y = tape.run(() => x.square().sum());
      tape.dispose();
      expect(() => y.backward()).toThrow(/made by sum, was consumed by an earlier backward or dropped with its scope/);
    });
  });

  it('outside every scope works, and its memory is given back by the backward', () => {
    const before = memoryStats().liveHandles;
    const x = leaf([1, 2]);
    const [h, y] = [x.exp(), undefined as Tensor | undefined];
    const root = y ?? h.sum();
    root.backward();
    expect(numbers(x.grad)?.[0]).toBeCloseTo(Math.E, 5);
    for (const made of [root, h, x]) made.dispose();
    expect(memoryStats().liveHandles).toBe(before);
  });

  it('keeps saved tensors alive over the scope of a module call', () => {
    class Twice extends Module {
      forward(x: Tensor): Tensor {
        return x.exp().mul(x).tanh();
      }
    }
    scope(() => {
      const [model, x] = [new Twice().initialize(context), leaf([0.5])];
      const y = model.call(model.call(x));
      y.sum().backward();
      expect(Number.isFinite(numbers(x.grad)?.[0])).toBe(true);
    });
  });

  it('gives up saved tensors node by node while it runs backward', () => {
    scope(() => {
      const x = leaf(new Array<number>(64).fill(0.1));
      const loss = scope(() => {
        let y: Tensor = x;
        for (let i = 0; i < 8; i++) y = y.tanh();
        return y.sum();
      });
      const before = memoryStats().liveHandles;
      loss.backward();
      expect(memoryStats().liveHandles).toBe(before - 8 + 1); // the gradient of x has come
    });
  });
});

describe('tapes', () => {
  it('are alive at once and run backward in any order', () => {
    scope(() => {
      const w = parameter('w', [2]);
      const tapes = [1, 2, 3].map(() => new Tape());
      const outputs = tapes.map((tape, i) =>
        tape.run(() =>
          scope(() =>
            tensor([i + 1])
              .mul(w)
              .square()
              .sum(),
          ),
        ),
      );
      const grads = [1, 0, 2].map((i) => {
        outputs[i]?.backward();
        return numbers(w.grad)?.[0];
      });
      expect(grads).toEqual([16, 20, 56]);
      for (const tape of tapes) tape.dispose();
      w.dispose();
    });
  });

  it('drop what no backward consumed when they are disposed', () => {
    scope(() => {
      const x = leaf([1, 2]);
      const before = memoryStats().liveHandles;
      const tape = new Tape();
      tape.run(() => scope(() => void x.exp().tanh().mul(x)));
      expect(memoryStats().liveHandles).toBeGreaterThan(before);
      tape.dispose();
      expect(memoryStats().liveHandles).toBe(before);
    });
  });

  it('put weight gradients off until they are asked for', () => {
    scope(() => {
      const [w, x] = [parameter('w', [1, 2, 3, 4], [2, 2]), leaf([5, 6], [1, 2])];
      const tape = new Tape();
      tape.deferWeightGradients = true;
      const y = tape.run(() => linear(linear(x, w), w).sum());
      y.backward();
      expect(numbers(x.grad)).toEqual([22, 32]); // the column sums [4, 6] through w again
      expect(w.grad).toBeUndefined();
      tape.runWeightGradients();
      expect(w.grad).toBeDefined();
      w.dispose();
    });
  });
});

describe('parameters', () => {
  function watched(w: Parameter): { calls: number[] } {
    const calls: number[] = [];
    const synchronizer: GradSynchronizer = {
      gradReady: (ready) => calls.push(numbers(ready.grad)?.[0] ?? Number.NaN),
      finish: () => undefined,
    };
    w.synchronizer = synchronizer;
    return { calls };
  }

  it('are ready once, after their last use in the forward', () => {
    scope(() => {
      const w = parameter('w', [2]);
      const { calls } = watched(w);
      const x = leaf([3]);
      x.mul(w).mul(w).add(w).sum().backward(); // d/dw = 2 x w + 1
      expect(calls).toEqual([13]);
      x.mul(w).sum().backward();
      expect(calls).toEqual([13, 16]);
      w.dispose();
    });
  });

  it('are ready when fused operations write into their gradient', () => {
    scope(() => {
      const table = parameter('table', [1, 2, 3, 4], [2, 2]);
      const { calls } = watched(table);
      const hidden = embedding(table, tensor(Int32Array.of(1, 0))); // [2, 2]
      linear(hidden, table).sum().backward();
      expect(calls).toHaveLength(1);
      // both uses of the table: rows [1, 0] get the column sums [4, 6], and each row gets the sum of the looked-up rows
      expect(numbers(table.grad)).toEqual([8, 12, 8, 12]);
      table.dispose();
    });
  });

  it('that are frozen get no gradient and are never ready', () => {
    scope(() => {
      const [w, v] = [parameter('w', [2]), parameter('v', [5])];
      w.requiresGrad = false;
      const { calls } = watched(w);
      v.mul(w).sum().backward();
      expect(w.grad).toBeUndefined();
      expect(calls).toEqual([]);
      expect(numbers(v.grad)).toEqual([2]);
      for (const each of [w, v]) each.dispose();
    });
  });

  it('that are tied share values and keep their gradients apart', () => {
    scope(() => {
      const w = parameter('w', [1, 2, 3, 4], [2, 2]);
      const head = w.tie();
      head.initialize('head', context);
      expect(head.handle).toBe(w.handle);
      expect(head.meta.isPrimary).toBe(false);
      const x = tensor([1, 1], [1, 2]);
      linear(linear(x, w), head).sum().backward();
      const [own, apart] = [numbers(w.grad), numbers(head.grad)];
      expect(own).toEqual([4, 4, 6, 6]);
      expect(apart).toEqual([3, 7, 3, 7]);
      w.dispose();
    });
  });

  it('accumulate over backwards, and zeroGrad makes the next one overwrite', () => {
    scope(() => {
      const w = parameter('w', [1, 2, 3, 4], [2, 2]);
      const x = tensor([1, 10], [1, 2]);
      const step = () => linear(x, w).sum().backward();
      step();
      step();
      expect(numbers(w.grad)).toEqual([2, 20, 2, 20]);
      w.zeroGrad();
      expect(w.grad).toBeUndefined();
      step();
      expect(numbers(w.grad)).toEqual([1, 10, 1, 10]);
      w.dispose();
    });
  });

  it.each([
    ['linear', (x: Tensor, w: Parameter, v: Parameter) => linear(x, w.reshape([2, 2]).transpose(0, 1), v)],
    ['linear with parameters', (x: Tensor, w: Parameter, v: Parameter) => linear(linear(x, w, v), w, v)],
    ['layerNorm by weight', (x: Tensor, w: Parameter, v: Parameter) => layerNorm(linear(x, w), { weight: v, bias: tensor([1, 2]) })],
    ['layerNorm by bias', (x: Tensor, w: Parameter, v: Parameter) => layerNorm(linear(x, w), { weight: tensor([1, 2]), bias: v })],
    ['biasGelu', (x: Tensor, w: Parameter, v: Parameter) => biasGelu(linear(x, w), v)],
    [
      'embedding',
      (x: Tensor, w: Parameter, v: Parameter) =>
        embedding(w, tensor(Int32Array.of(1, 1, 0)))
          .mul(v)
          .add(x),
    ],
  ])('accumulate twice the gradient in two backwards of %s', (_, f) => {
    scope(() => {
      const [w, v] = [parameter('w', [1, 2, -3, 4], [2, 2]), parameter('v', [0.5, -2])];
      const x = tensor([1, 10], [1, 2]);
      const step = () =>
        f(x, w, v)
          .mul(tensor([1, 3]))
          .sum()
          .backward();
      step();
      const once = [numbers(w.grad), numbers(v.grad)].map((grad) => grad?.map((value) => 2 * value));
      step();
      expect([numbers(w.grad), numbers(v.grad)]).toEqual(once);
      for (const each of [w, v]) each.dispose();
    });
  });

  it('write into a buffer of the caller', () => {
    scope(() => {
      const w = parameter('w', [1, 2]);
      const flat = tensor([9, 9]);
      w.useGradBuffer(flat);
      w.mul(3).sum().backward();
      expect(numbers(flat)).toEqual([3, 3]);
      w.dispose();
    });
  });

  it('that a rebase moved keep their values', () => {
    scope(() => {
      const w = parameter('w', [1, 2]);
      w.rebase(tensor([0, 0]));
      expect(numbers(w)).toEqual([1, 2]);
      w.dispose();
    });
  });
});

describe('backward', () => {
  it('that throws leaves nothing behind once its scope has closed', () => {
    const before = memoryStats().liveHandles;
    const broken = defineOp({
      name: 'broken',
      forward: (x: Tensor) => ({ output: x.mul(1), saved: x }),
      backward: (): [Tensor] => {
        throw new Error('mine');
      },
    });
    expect(() =>
      scope(() => {
        const x = leaf([1, 2]);
        broken(x.exp()).add(x.tanh()).sum().backward();
      }),
    ).toThrow('mine');
    expect(memoryStats().liveHandles).toBe(before);
  });

  it('of batched products sums over the repeated batches', () => {
    scope(() => {
      const [a, b] = [leaf([1, 2, 3, 4], [2, 1, 2]), leaf([5, 6], [2, 1])];
      matmul(a, b).sum().backward();
      expect(numbers(a.grad)).toEqual([5, 6, 5, 6]);
      expect(numbers(b.grad)).toEqual([4, 6]);
    });
  });
});
