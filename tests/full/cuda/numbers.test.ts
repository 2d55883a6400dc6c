import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { fakeMachine, hostKernels, train } from '../../cuda/play.ts';

/** The kernels, compiled for this machine's CPU and launched through a fake driver: what is proven is every launch of a step. */
describe.runIf(process.platform === 'linux')('a training step on a fake device whose kernels run on the CPU', () => {
  let machine: ReturnType<typeof fakeMachine>;
  beforeAll(() => {
    machine = fakeMachine();
  });
  afterAll(() => machine.end());

  it.each([
    ['gpt', 'kernel', 0, 1e-5, 'sums over rows and products are made in another order'],
    ['llama-bf16', 'kernel', 0, 2e-2, 'the same, each rounded to bf16'],
    ['llama-bf16', 'auto', 4, 2e-2, 'the same, and those of attention in one more order'],
    ['llama-bf16', 'cudnn', 4, 2e-2, 'the same'],
  ] as const)('has the losses of the CPU: %s, attention by %s', (model, attention, passes, limit, because) => {
    const [there, here] = [
      train({ device: 'cuda', folder: machine.folder, fake: `run=${hostKernels}`, model, attention }),
      train({ device: 'cpu', model }),
    ];
    expect(there.device).toBe('cuda:0');
    // Two layers, both ways.
    expect(there.steps.map(({ device }) => device?.cudnnAttentions)).toEqual([1, 2, 3, 4].map((steps) => passes * steps));
    expect(here.steps[3]?.loss).toBeLessThan((here.steps[0]?.loss ?? 0) - 0.1); // something is learnt
    for (const [n, { loss }] of here.steps.entries()) {
      const other = there.steps[n]?.loss ?? Number.NaN;
      expect(Math.abs(other - (loss ?? Number.NaN)), `step ${n}: ${other} and ${loss} (${because})`).toBeLessThan(limit);
    }
  });
});
