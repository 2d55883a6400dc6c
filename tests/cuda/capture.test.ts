import { captureStep } from '@megatron-ts/training';
import { initializeModelParallel, type ParallelContext } from '@megatron-ts/process-groups';
import {
  type AnyTensor,
  copyToHost,
  deviceStats,
  dropout,
  engine,
  ones,
  scope,
  sum,
  tensor,
  withChecking,
  zeros,
} from '@megatron-ts/tensor';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { capture, type Capturing, fakeMachine } from './play.ts';

describe.runIf(process.platform === 'linux')('steps that are captured, on a fake device', () => {
  let machine: ReturnType<typeof fakeMachine>;
  let told: Capturing;
  beforeAll(() => {
    machine = fakeMachine();
    // Nobody finds anything done without waiting for it: whoever waits is counted.
    told = capture({ folder: machine.folder, fake: 'busy=1' });
  });
  afterAll(() => machine.end());

  const differences = (numbers: readonly number[]) => numbers.slice(1).map((number, n) => number - (numbers[n] ?? 0));

  it('are one launch each once two have run as they are', () => {
    expect(told.isCaptured).toBe(true);
    expect(differences(told.stats.map(({ graphLaunches }) => graphLaunches))).toEqual([0, 1, 1, 1, 1, 1, 1, 1, 1]);
    const launches = differences(told.stats.map(({ launches }) => launches));
    // The step that is recorded asks for the same kernels as the one before it, the others for none.
    expect(launches[1]).toBe(launches[0]);
    expect(launches.slice(2)).toEqual([0, 0, 0, 0, 0, 0, 0]);
    expect(new Set(told.stats.slice(2).map(({ products }) => products)).size).toBe(1);
  });

  it('keep as much memory after each launch, and give all of it back', () => {
    expect(new Set(told.stats.slice(2).map(({ liveBytes, liveBlocks }) => `${liveBytes} ${liveBlocks}`)).size).toBe(1);
    // The first backward has made the gradient of the tied head, [32, 16] of f32, which stays.
    const { liveBytes, liveBlocks } = told.disposed;
    expect([liveBytes, liveBlocks]).toEqual([told.unused.liveBytes + 2048, told.unused.liveBlocks + 1]);
  });

  it('are waited for only where a number is read', () => {
    // Each step reads its loss and then its norm, which has travelled before the loss and is there by then.
    expect(differences(told.stats.map(({ synchronizations }) => synchronizations))).toEqual([1, 1, 1, 1, 1, 1, 1, 1, 1]);
    // Numbers are read a step later, from the second step on: nobody waits before.
    expect(differences(told.synchronizations)).toEqual([0, 1, 1, 1, 1, 1, 1, 1, 1]);
  });
});

describe.runIf(process.platform === 'linux')('captureStep, on a fake device', () => {
  let machine: ReturnType<typeof fakeMachine>;
  let ctx: ParallelContext;
  beforeAll(async () => {
    machine = fakeMachine();
    const { folder } = machine;
    Object.assign(process.env, { MEGATRON_CUDA_LIBS: folder, MEGATRON_CACHE: `${folder}/cache` });
    ctx = await initializeModelParallel({ device: 'cuda' });
  });
  afterAll(async () => {
    await ctx.destroy();
    machine.end();
  });

  /** Runs `f` as it is and then tries to capture it. */
  const captured = (f: (x: AnyTensor) => AnyTensor | undefined, inputs = [zeros([2, 1, 4]), zeros([2, 1, 4])]) => {
    using step = captureStep(f, { ctx, warmupSteps: 1 });
    inputs.forEach((input, n) => step.run(n, input));
    return step.isCaptured;
  };

  it('refuses a value that is read, and numbers that are copied, inside the step, and leaves the device as it was', () => {
    const read = 'while the step is captured, in which nothing has run yet. Return the tensor, and read it when run() has returned.';
    expect(() => captured((x) => (sum(x).item(), x))).toThrow(`item: a value is read ${read}`);
    expect(() => captured((x) => (x.toArray(), x))).toThrow(`toArray: a value is read ${read}`);
    expect(() => captured((x) => x.add(tensor([1])))).toThrow(
      'tensor: numbers of the host are copied while the step is captured, and each launch would find the same. Pass them to run() as inputs.',
    );
    expect(() => captured((x) => (copyToHost(x), x))).toThrow(
      'copyToHost: device 0: a copy to the host while a graph is captured, in which nothing has run yet. Do it before or afterwards.',
    );
    expect(captured((x) => x.add(1))).toBe(true);
    expect(scope(() => ones([3]).toArray())).toHaveLength(3);
  });

  it('refuses inputs of another shape or type', () => {
    const change = 'Give every step inputs of the same shapes, or capture a step for each.';
    const same = (x: AnyTensor) => x.add(1);
    expect(() => captured(same, [zeros([2]), zeros([2]), zeros([3])])).toThrow(
      `CapturedStep.run: input 0 is f32[3], and was f32[2] in the first step. ${change}`,
    );
    expect(() => captured(same, [zeros([2]), zeros([2], 'bf16')])).toThrow('input 0 is bf16[2], and was f32[2]');
  });

  it('refuses what a step returns and no launch could change, and steps that draw more than the one before', () => {
    expect(() => captured(() => 3 as never)).toThrow(
      'captureStep: the step returned number, which no launch could change. Return tensors, an array of them, or a plain object of them.',
    );
    let calls = 0;
    const more = (x: AnyTensor) => (calls++ === 0 ? x.add(1) : dropout(x, { p: 0.5 }));
    expect(() => captured(more)).toThrow('the step that is captured has more dropouts than the step before it, which had 0.');
  });

  it('refuses places without graphs, several ranks, checking and a step after its end', async () => {
    const f = (x: AnyTensor) => x;
    await using onCpu = await initializeModelParallel({ device: 'cpu' });
    expect(() => captureStep(f, { ctx: onCpu })).toThrow('captureStep: the context is on the CPU, which has no graphs.');
    await using two = await initializeModelParallel({ device: 'cpu', backend: 'fake', rank: 0, worldSize: 2 });
    Object.assign(two, { device: 'cuda:0' });
    expect(() => captureStep(f, { ctx: two })).toThrow('captureStep: there are 2 ranks, and steps with collectives are not captured yet.');
    expect(() => captureStep(f, { ctx, warmupSteps: 0 })).toThrow('captureStep: warmupSteps is 0. Use a whole number of at least 1.');
    expect(() => withChecking(true, () => captureStep(f, { ctx }))).toThrow('captureStep: MEGATRON_CHECK is on, which reads every result');
    const ended = captureStep(f, { ctx });
    ended.dispose();
    expect(() => ended.run(0, ones([1]))).toThrow('CapturedStep.run: the step was disposed. Capture a new one.');
  });

  it('keeps what a copy was asked for, whatever is written afterwards', () => {
    scope(() => {
      const x = tensor([1, 2, 3]);
      const copy = copyToHost(x);
      engine.fill(x.handle, 7);
      expect([...copy.toArray()]).toEqual([1, 2, 3]);
      expect([...copyToHost(tensor([0.5, -2], [2], { dtype: 'bf16' })).toArray()]).toHaveLength(2);
      expect(() => copy.item()).toThrow('item: the copy has shape [3]. Copy one number, or use toArray().');
    });
    expect(deviceStats()?.name).toBe('cuda:0');
  });
});
