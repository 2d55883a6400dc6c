import { ambient, evaluate, keep, memoryStats, noGrad, Parameter, scope, Tape, tensor, zeros } from '@megatron-ts/tensor';
import { describe, expect, it } from 'vitest';

const live = () => memoryStats().liveHandles;

describe('scope', () => {
  it('releases what it does not return', () => {
    const before = live();
    const made = scope(() => {
      const x = tensor([1, 2, 3]);
      x.add(1).mul(2);
      return x.numel;
    });
    expect(made).toBe(3);
    expect(live()).toBe(before);
  });

  it('hands a returned tensor to the scope around it', () => {
    const before = live();
    scope(() => {
      const y = scope(() => tensor([1, 2]).mul(3));
      expect([...(y.toArray() as Float32Array)]).toEqual([3, 6]);
      expect(live()).toBe(before + 1);
    });
    expect(live()).toBe(before);
  });

  it('lets tensors in arrays, Maps and plain objects survive', () => {
    const before = live();
    const { list, map, nested } = scope(() => ({
      list: [zeros([1]), zeros([2])],
      map: new Map([['a', zeros([3])]]),
      nested: { deep: [{ x: zeros([4]) }] },
    }));
    expect(live()).toBe(before + 4);
    for (const survivor of [...list, ...map.values(), ...nested.deep.map(({ x }) => x)]) survivor.dispose();
    expect(live()).toBe(before);
  });

  it('gives up a tensor that leaves by an exception, and restores what was around it', () => {
    const before = live();
    const outer = { ...ambient };
    expect(() =>
      scope(() =>
        scope(() => {
          zeros([8]);
          throw new RangeError('mine');
        }),
      ),
    ).toThrow(new RangeError('mine'));
    expect(ambient).toEqual(outer);
    expect(live()).toBe(before);
  });

  it('restores what was around a scope, noGrad, evaluate and a tape when they throw', () => {
    const outer = { ...ambient };
    const fail = () => {
      throw new Error('mine');
    };
    for (const region of [scope, noGrad, evaluate, (f: () => void) => new Tape().run(f)] as ((f: () => void) => void)[]) {
      expect(() => region(fail)).toThrow('mine');
      expect(ambient).toEqual(outer);
    }
  });

  it('refuses a callback that returns a promise, and releases what it made', () => {
    const before = live();
    // @ts-expect-error -- the type refuses it as well
    const run = () => scope(async () => zeros([4]));
    expect(run).toThrow(
      'scope: the callback returned a promise, and a region of memory must not span an await. Await before the scope, or use a plain function.',
    );
    expect(() => scope((() => Promise.reject(new Error('late'))) as () => never)).toThrow(
      expect.objectContaining({ code: 'ASYNC_CALLBACK' }),
    );
    expect(live()).toBe(before);
  });

  it('keeps its own tape: nodes that no backward consumed give up what they saved', () => {
    const before = live();
    const x = tensor([1, 2], [2], { requiresGrad: true });
    scope(() => {
      x.exp().mul(x);
    });
    expect(live()).toBe(before + 1);
    x.dispose();
    expect(live()).toBe(before);
  });
});

describe('noGrad and evaluate', () => {
  it('record nothing', () => {
    scope(() => {
      const x = tensor([1, 2], [2], { requiresGrad: true });
      expect(noGrad(() => x.mul(2)).requiresGrad).toBe(false);
      expect(evaluate(() => x.mul(2)).requiresGrad).toBe(false);
      expect(x.mul(2).requiresGrad).toBe(true);
    });
  });

  it('evaluate is told to what runs inside, and ends', () => {
    expect(evaluate(() => ambient.evaluating)).toBe(true);
    expect(ambient.evaluating).toBe(false);
  });
});

describe('keep and dispose', () => {
  it('let a tensor outlive its scope until dispose', () => {
    const before = live();
    let kept = zeros([0]);
    kept.dispose();
    scope(() => {
      kept = keep(tensor([7]));
    });
    expect(kept.item()).toBe(7);
    kept.dispose();
    expect(kept.isLive).toBe(false);
    expect(live()).toBe(before);
  });

  it('dispose inside a scope releases at once, and twice is once', () => {
    scope(() => {
      const before = live();
      const x = zeros([4]);
      x.dispose();
      x.dispose();
      expect(live()).toBe(before);
    });
  });

  it('using gives a tensor up at the end of its block', () => {
    const before = live();
    {
      using x = zeros([4]);
      expect(x.numel).toBe(4);
    }
    expect(live()).toBe(before);
  });

  it('a tensor used after its scope closed says so', () => {
    let escaped = zeros([0]);
    escaped.dispose();
    scope(() => {
      escaped = zeros([2, 3]);
    });
    const sentence = 'tensor f32[2, 3]: used after its scope closed or after dispose. Return it from the scope, or keep() it.';
    for (const use of [() => escaped.add(1), () => escaped.toArray(), () => keep(escaped), () => escaped.reshape([6])])
      expect(use).toThrow(sentence);
    expect(() => escaped.item()).toThrow(expect.objectContaining({ code: 'NOT_A_SCALAR' }));
  });

  it('a parameter that is initialized outside every scope is released by dispose', () => {
    const before = live();
    const parameter = new Parameter({ shape: [8] });
    parameter.initialize('w', { seed: 1, device: 'cpu', coordinates: () => ({ size: 1, rank: 0 }) });
    parameter.gradTarget();
    expect(live()).toBe(before + 2);
    parameter.dispose();
    expect(live()).toBe(before);
  });
});
