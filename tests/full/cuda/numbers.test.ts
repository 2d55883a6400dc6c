import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { fakeMachine, hostKernels, train } from '../../cuda/play.ts';

/** The kernels, compiled for this machine's CPU and launched through a fake driver: what is proven is every launch of a step. */
describe.runIf(process.platform === 'linux')('a training step on a fake device whose kernels run on the CPU', () => {
  let machine: ReturnType<typeof fakeMachine>;
  beforeAll(() => {
    machine = fakeMachine();
  });
  afterAll(() => machine.end());

  it('has the losses of the CPU', () => {
    const [there, here] = [train('cuda', machine.folder, `run=${hostKernels}`), train('cpu')];
    expect(there.device).toBe('cuda:0');
    for (const [n, { loss }] of here.steps.entries()) {
      const other = there.steps[n]?.loss ?? Number.NaN;
      // Sums over rows and products are made in another order.
      expect(Math.abs(other - (loss ?? Number.NaN)), `step ${n}: ${other} and ${loss}`).toBeLessThan(1e-5);
    }
  });
});
