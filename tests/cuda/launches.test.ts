import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { fakeMachine, train, type Training } from './play.ts';

/** What a step asks a device for that only writes down what it is asked for: kernels do not run, so that no number means anything. */
describe.runIf(process.platform === 'linux')('a training step on a fake device', () => {
  let machine: ReturnType<typeof fakeMachine>;
  let training: Training;
  beforeAll(() => {
    machine = fakeMachine();
    training = train({ device: 'cuda', folder: machine.folder });
  });
  afterAll(() => machine.end());

  it('runs there from the tokens to the optimizer', () => {
    expect(training.device).toBe('cuda:0');
    expect(training.steps.map(({ device }) => device?.name)).toEqual(['cuda:0', 'cuda:0', 'cuda:0', 'cuda:0']);
    expect(training.copied).toEqual([1.5, -2, 0.25]);
  });

  it('asks for the same in each step', () => {
    const [, second, third, fourth] = training.steps.map(({ device }) => device);
    for (const counted of ['launches', 'products', 'reads', 'allocations'] as const) {
      const [before = 0, between = 0, after = 0] = [second, third, fourth].map((stats) => stats?.[counted]);
      expect(between - before).toBeGreaterThan(0);
      expect(after - between).toBe(between - before);
    }
  });

  it('reads one number in each step, the loss, and waits for nothing else', () => {
    const reads = training.steps.map(({ device }) => device?.reads ?? 0);
    expect(reads.slice(1).map((count, n) => count - (reads[n] ?? 0))).toEqual([1, 1, 1]);
    // In the fake everything is done once it is asked for, so that who reads finds it there: whoever waited nevertheless would be counted.
    expect(training.steps.map(({ device }) => device?.synchronizations)).toEqual([0, 0, 0, 0]);
    // Where nothing is done before somebody waits for it, each number that is read is waited for, once, and nothing else is.
    const { steps } = train({ device: 'cuda', folder: machine.folder, fake: 'busy=1' });
    const waits = steps.map(({ device }) => device?.synchronizations ?? 0);
    expect(waits.slice(1).map((count, n) => count - (waits[n] ?? 0))).toEqual([1, 1, 1]);
  });

  it('gives back what it took: as many bytes and blocks live after each step', () => {
    const [first, ...others] = training.steps;
    for (const { device, liveBytes } of others) {
      expect(device?.liveBytes).toBe(first?.device?.liveBytes);
      expect(device?.liveBlocks).toBe(first?.device?.liveBlocks);
      expect(liveBytes).toBe(first?.liveBytes);
    }
  });

  it('refuses tensors on two devices, and what has no kernel, in one sentence each', () => {
    expect(training.refusals).toEqual([
      'binary: one tensor lies on the CPU, another on cuda:0. Copy one to where the other is.',
      'unary: on a CUDA device this operation has kernels for f32, bf16, f16, not for f64. Cast first, or use the CPU.',
    ]);
  });
});
