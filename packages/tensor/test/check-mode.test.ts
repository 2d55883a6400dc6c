import { isChecking, linear, Module, Parameter, scope, type Tensor, tensor, withChecking } from '@megatron-ts/tensor';
import { describe, expect, it } from 'vitest';

const context = { seed: 1, device: 'cpu', coordinates: () => ({ size: 1, rank: 0 }) };

class Inner extends Module {
  forward(x: Tensor): Tensor {
    return x.sqrt();
  }
}

class Outer extends Module {
  readonly layers = [new Inner()];
  forward(x: Tensor): Tensor {
    return this.layers.reduce((h, layer) => layer.call(h), x);
  }
}

describe('MEGATRON_CHECK', () => {
  it('names the operation, the module path and the line in forward', () => {
    scope(() => {
      const model = new Outer().initialize(context);
      const run = () => withChecking(true, () => model.call(tensor([1, -1, 4])).mul(2));
      expect(run).toThrow(/^layers\.0: sqrt \(at .*check-mode\.test\.ts:\d+:\d+\): 1 of the 3 values of the result f32\[3\] are NaN,/);
      expect(run).toThrow(expect.objectContaining({ name: 'EngineError', code: 'NAN' }));
    });
  });

  it('names the operation, the module path and the forward line in backward', () => {
    scope(() => {
      const model = new Outer().initialize(context);
      withChecking(true, () => {
        const y = model
          .call(tensor([1, 0], [2], { requiresGrad: true }))
          .mul(0)
          .sum(); // 0 · inf
        expect(() => y.backward()).toThrow(
          /^backward of sqrt in layers\.0 \(forward at .*check-mode\.test\.ts:\d+:\d+\): 1 of the 2 values/,
        );
      });
    });
  });

  it('finds the line of the caller below many frames of the library', () => {
    scope(() => {
      const x = tensor([-1]);
      let run = x.sqrt.bind(x);
      for (let depth = 0; depth < 12; depth++) run = scope.bind(undefined, run) as typeof run;
      expect(() => withChecking(true, () => run())).toThrow(/^sqrt \(at .*check-mode\.test\.ts/);
    });
  });

  it('names the operation that made the NaN, not the ones that carry it', () => {
    scope(() => {
      const w = new Parameter({ shape: [1, 1], init: { kind: 'ones' } });
      w.initialize('w', context);
      const carried = () => linear(tensor([Number.POSITIVE_INFINITY], [1, 1]).mul(0), w).exp();
      expect(() => withChecking(true, carried)).toThrow(/^mul \(at /);
      expect(carried().item()).toBeNaN();
      w.dispose();
    });
  });

  it('does not mind infinities, and ends with its callback', () => {
    scope(() => {
      expect(withChecking(true, () => tensor([0]).log().item())).toBe(Number.NEGATIVE_INFINITY);
      expect(isChecking()).toBe(process.env['MEGATRON_CHECK'] === '1');
    });
  });
});
