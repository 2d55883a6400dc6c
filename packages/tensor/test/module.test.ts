import { type AnyTensor, ambient, copyInto, Module, memoryStats, Parameter, scope, type Tensor, tensor } from '@megatron-ts/tensor';
import { describe, expect, expectTypeOf, it } from 'vitest';

const context = { seed: 7, device: 'cpu', coordinates: () => ({ size: 1, rank: 0 }) };

class Scale extends Module {
  readonly weight = new Parameter({ shape: [2], init: { kind: 'ones' } });

  forward(x: Tensor): Tensor {
    return x.mul(this.weight);
  }
}

class Stack extends Module {
  readonly first = new Scale();
  readonly list = [new Scale(), new Scale()];
  readonly byIndex = new Map([[4, new Scale()]]);
  readonly parts = { deep: { inner: new Scale() } };
  readonly bias = new Parameter({ shape: [2] });
  readonly size = 2;

  forward(x: Tensor): Tensor {
    return [this.first, ...this.list, ...this.byIndex.values(), this.parts.deep.inner]
      .reduce((h, layer) => layer.call(h), x)
      .add(this.bias);
  }
}

describe('names', () => {
  it('are the field paths, through arrays, Maps and plain objects, in field order', () => {
    const model = new Stack().initialize(context);
    expect([...model.namedParameters().keys()]).toEqual([
      'first.weight',
      'list.0.weight',
      'list.1.weight',
      'byIndex.4.weight',
      'parts.deep.inner.weight',
      'bias',
    ]);
    expect(model.parameters().map(({ name }) => name)).toEqual([...model.namedParameters().keys()]);
    expect([...model.namedModules().keys()]).toEqual(['', 'first', 'list.0', 'list.1', 'byIndex.4', 'parts.deep.inner']);
    expect(model.list[1]?.path).toBe('list.1');
    expect(model.path).toBe('Stack');
    model.dispose();
  });

  it('that collide are refused', () => {
    class Twice extends Module {
      readonly layers = new Map<unknown, Module>([
        [1, new Scale()],
        ['1', new Scale()],
      ]);
      forward(x: Tensor): Tensor {
        return x;
      }
    }
    expect(() => new Twice().initialize(context)).toThrow('Twice.initialize: two children are named "layers.1". Rename a field or a key.');
  });

  it('of one child under two paths are refused', () => {
    class Shared extends Module {
      readonly a = new Scale();
      readonly b = this.a;
      forward(x: Tensor): Tensor {
        return x;
      }
    }
    expect(() => new Shared().initialize(context)).toThrow(
      'Shared.initialize: "a" and "b" are one Scale. Build two, or use Parameter.tie() for a shared weight.',
    );
  });
});

describe('initialize', () => {
  it('takes no memory before, and gives it back on dispose', () => {
    const before = memoryStats().liveBytes;
    const model = new Stack();
    expect(memoryStats().liveBytes).toBe(before);
    model.initialize(context);
    expect(memoryStats().liveBytes).toBeGreaterThan(before);
    model.dispose();
    expect(memoryStats().liveBytes).toBe(before);
  });

  it('twice changes nothing', () => {
    const model = new Scale().initialize(context);
    scope(() => copyInto(model.weight, tensor([5, 6])));
    model.initialize(context);
    expect([...(model.weight.toArray() as Float32Array)]).toEqual([5, 6]);
    model.dispose();
  });

  it('is asked for by name when a module or parameter is used before it', () => {
    scope(() => {
      expect(() => new Scale().call(tensor([1, 2]))).toThrow('Scale: used before initialize. Call initialize(ctx) on the model first.');
      expect(() => new Scale().forward(tensor([1, 2]))).toThrow(
        /^parameter "" f32\[2\]: used before initialize\. Call initialize\(ctx\) on the model first\./,
      );
      expect(() => new Scale().call(tensor([1, 2]))).toThrow(expect.objectContaining({ code: 'NOT_INITIALIZED', name: 'ConfigError' }));
    });
  });

  it('names a child that is built but not reachable', () => {
    class Hiding extends Module {
      readonly child: () => Scale;
      readonly weight: () => Parameter;
      constructor() {
        super();
        const [child, weight] = [new Scale(), new Parameter({ shape: [2] })];
        this.child = () => child;
        this.weight = () => weight;
      }
      forward(x: Tensor, which: 'child' | 'weight'): Tensor {
        return which === 'child' ? this.child().call(x) : x.mul(this.weight());
      }
    }
    scope(() => {
      const model = new Hiding().initialize(context);
      const remedy = 'Hiding is initialized but does not reach it: keep it in a field, an array, a Map or a plain object.';
      expect(() => model.call(tensor([1, 2]), 'child')).toThrow(`Scale: used before initialize. ${remedy}`);
      expect(() => model.call(tensor([1, 2]), 'weight')).toThrow(`parameter "" f32[2]: used before initialize. ${remedy}`);
    });
  });
});

describe('call', () => {
  const x = undefined as unknown as Tensor;
  it('has the types of forward: two inputs, optional ones, tuples and generics', () => {
    class Attend extends Module {
      forward(x: Tensor, mask?: Tensor): [Tensor, Tensor] {
        return [x, mask ?? x];
      }
    }
    class Pick extends Module {
      forward<T extends AnyTensor>(x: T): T {
        return x;
      }
    }
    const attend = undefined as unknown as Attend;
    const described: (x: Tensor, mask?: Tensor) => [Tensor, Tensor] = attend?.call;
    expectTypeOf(described).toEqualTypeOf<(x: Tensor, mask?: Tensor) => [Tensor, Tensor]>();
    // @ts-expect-error -- a mask is a tensor
    void (() => attend.call(x, 3));
    const sharded = undefined as unknown as Tensor<'hidden sharded over tp'>;
    expectTypeOf(() => new Pick().call(sharded)).returns.toEqualTypeOf<Tensor<'hidden sharded over tp'>>();
  });

  it('releases temporaries and returns the output', () => {
    scope(() => {
      const model = new Stack().initialize(context);
      const x = tensor([1, 2]);
      const before = memoryStats().liveHandles;
      const y = scope(() => model.call(x).detach());
      expect([...(y.toArray() as Float32Array)]).toEqual([1, 2]);
      y.dispose();
      model.dispose();
      expect(memoryStats().liveHandles).toBeLessThan(before + 12);
    });
  });

  it('names the module in an error, and restores the frame', () => {
    scope(() => {
      const model = new Stack().initialize(context);
      expect(() => model.call(tensor([1, 2, 3]))).toThrow(
        'first: mul: shapes [3] and [2] differ in dim 0 (3 and 2). Make them equal, or one of them 1.',
      );
      expect(ambient.frame).toBeUndefined();
      model.dispose();
    });
  });
});

describe('hooks', () => {
  it('tell of forward and backward in order, the inner within the outer', () => {
    class Pair extends Module {
      readonly a = new Scale();
      readonly b = new Scale();
      forward(x: Tensor): Tensor {
        return this.b.call(this.a.call(x).mul(2)).mul(3);
      }
    }
    scope(() => {
      const model = new Pair().initialize(context);
      const told: string[] = [];
      for (const module of model.namedModules().values()) {
        module.hooks.beforeForward = ({ path }) => told.push(`> ${path}`);
        module.hooks.afterForward = ({ path }) => told.push(`< ${path}`);
        module.hooks.beforeBackward = ({ path }) => told.push(`>> ${path}`);
        module.hooks.afterBackward = ({ path }) => told.push(`<< ${path}`);
      }
      const y = model.call(tensor([1, 2])).sum();
      expect(told).toEqual(['> Pair', '> a', '< a', '> b', '< b', '< Pair']);
      told.length = 0;
      y.backward();
      expect(told).toEqual(['>> Pair', '>> b', '<< b', '>> a', '<< a', '<< Pair']);
      model.dispose();
    });
  });

  it('tell two calls of one module apart', () => {
    scope(() => {
      const model = new Scale().initialize(context);
      let calls = 0;
      model.hooks.beforeBackward = () => calls++;
      model
        .call(model.call(tensor([1, 2])))
        .sum()
        .backward();
      expect(calls).toBe(2);
      expect([...(model.weight.grad?.toArray() as Float32Array)]).toEqual([2, 4]);
      model.dispose();
    });
  });
});

describe('zeroGrad', () => {
  it('forgets the gradients of all parameters', () => {
    scope(() => {
      const model = new Stack().initialize(context);
      model
        .call(tensor([1, 2]))
        .sum()
        .backward();
      expect(model.parameters().every(({ grad }) => grad !== undefined)).toBe(true);
      model.zeroGrad();
      expect(model.parameters().every(({ grad }) => grad === undefined)).toBe(true);
      model.dispose();
    });
  });
});
