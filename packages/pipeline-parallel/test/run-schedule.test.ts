import { Adam } from '@megatron-ts/optimizer';
import { initializeModelParallel, type ParallelContext } from '@megatron-ts/process-groups';
import { forwardOnly, gpipe, oneForwardOneBackward, scheduleFromCompute, turningPlacement } from '@megatron-ts/schedule';
import { ambient, evaluate, memoryStats, Module, scaleInPlace, scope, type Tensor, tensor } from '@megatron-ts/tensor';
import { expectBitwise } from '@megatron-ts/testing';
import { describe, expect, it, vi } from 'vitest';
import { runSchedule, type RunScheduleOptions } from '../src/index.ts';
import { lossOf, microbatchOf, ToyStage } from './ranks/toy-pipeline.ts';

const four = oneForwardOneBackward({ numStages: 1, numMicrobatches: 4 });

function whole(ctx: ParallelContext): ToyStage {
  return new ToyStage({ stage: 0, numStages: 1, tied: true }, ctx).initialize(ctx);
}

/** Gradients of four microbatches by plain backwards, divided by their 24 tokens. */
function directGrads(ctx: ParallelContext): Float32Array[] {
  const model = whole(ctx);
  for (let i = 0; i < 4; i++) scope(() => lossOf(model.call(microbatchOf(i))).sum.backward());
  const { entry, exit } = model;
  if (entry === undefined || exit?.grad === undefined) throw new Error('the model is not whole');
  entry.accumulateGrad(exit.grad);
  exit.zeroGrad();
  const grads = model.parameters().flatMap(({ grad }) => (grad === undefined ? [] : [grad]));
  for (const grad of grads) scaleInPlace(grad, 1 / 24);
  const values = grads.map((grad) => grad.toArray() as Float32Array);
  model.dispose();
  return values;
}

function gradsOf(models: readonly Module[]): Float32Array[] {
  return models.flatMap((model) => model.parameters()).flatMap(({ grad }) => (grad === undefined ? [] : [grad.toArray() as Float32Array]));
}

describe('runSchedule on one rank', () => {
  it('gives the gradients of plain backwards, divided once by the number of tokens', async () => {
    await using ctx = await initializeModelParallel();
    const expected = directGrads(ctx);
    for (const schedule of [
      four,
      gpipe({ numStages: 1, numMicrobatches: 4 }),
      scheduleFromCompute('split', ['F0 I0 F1 I1 W0 F2 W1 I2 W2 F3 I3 W3']),
    ]) {
      const model = whole(ctx);
      const { numTokens } = ctx.step(0, () => runSchedule({ ctx, schedule, chunks: [model], microbatches: microbatchOf, lossOf }));
      expect(numTokens).toBe(24);
      const grads = gradsOf([model]);
      expect(grads).toHaveLength(expected.length);
      grads.forEach((grad, i) => expectBitwise(grad, expected[i] ?? []));
      model.dispose();
    }
  });

  it('hands activations and gradients over between two chunks of one rank', async () => {
    await using ctx = await initializeModelParallel();
    const schedule = scheduleFromCompute('both', ['F0a F0b F1a F1b B0b B0a [F2a+B1b] B1a F2b B2b B2a F3a F3b B3b B3a'], {
      placement: turningPlacement(1),
    });
    const halves = [0, 1].map((stage) => new ToyStage({ stage, numStages: 2 }, ctx).initialize(ctx));
    const model = new ToyStage({ stage: 0, numStages: 1 }, ctx).initialize(ctx);
    const run = (chunks: readonly Module[], options: Partial<RunScheduleOptions<Tensor>>) =>
      ctx.step(0, () => runSchedule({ ctx, schedule: four, chunks, microbatches: microbatchOf, lossOf, ...options }));
    expect(run(halves, { schedule })).toEqual(run([model], {}));
    const layers = (models: readonly Module[]) =>
      new Map(
        models
          .flatMap((one) => [...one.namedParameters()])
          .filter(([name]) => name.startsWith('layers'))
          .map(([name, { grad }]) => [name, grad]),
      );
    for (const [name, grad] of layers([model])) expectBitwise(layers(halves).get(name) as Tensor, grad as Tensor);
    for (const one of [...halves, model]) one.dispose();
  });

  it('takes microbatches of any kind, and a forward of any form', async () => {
    await using ctx = await initializeModelParallel();
    const model = whole(ctx);
    const schedule = forwardOnly({ numStages: 1, numMicrobatches: 2 });
    const plain = ctx.step(0, () => runSchedule({ ctx, schedule, chunks: [model], microbatches: [0, 1].map(microbatchOf), lossOf }));
    const wrapped = ctx.step(0, () =>
      runSchedule({ ctx, schedule, chunks: [model], microbatches: [0, 1].map((i) => ({ input: microbatchOf(i), weight: 1 })), lossOf }),
    );
    const numbers = ctx.step(0, () =>
      runSchedule({
        ctx,
        schedule,
        chunks: [model],
        microbatches: [0, 1],
        lossOf,
        inputOf: microbatchOf,
        forwardStep: (chunk, input) => (chunk as ToyStage).call(input),
      }),
    );
    expect([wrapped, numbers]).toEqual([plain, plain]);
    model.dispose();
  });

  it('leaves no gradients behind and drops out nothing when it only runs forwards', async () => {
    await using ctx = await initializeModelParallel();
    const model = whole(ctx);
    let evaluating = true;
    const watched = (output: Tensor) => {
      evaluating &&= ambient.evaluating && !ambient.recording;
      return lossOf(output);
    };
    const { loss } = ctx.step(0, () =>
      runSchedule({ ctx, schedule: four, chunks: [model], microbatches: microbatchOf, lossOf: watched, forwardOnly: true }),
    );
    const direct = evaluate(() => [0, 1, 2, 3].map((i) => lossOf(model.call(microbatchOf(i))).sum.item()));
    expect(loss).toBe(direct.reduce((sum, one) => sum + one, 0) / 24);
    expect(evaluating).toBe(true);
    expect(gradsOf([model])).toEqual([]);
    model.dispose();
  });

  it('warns of a loss that is not finite, with the step', async () => {
    await using ctx = await initializeModelParallel();
    const model = whole(ctx);
    const write = vi.spyOn(process.stderr, 'write').mockReturnValue(true);
    const schedule = oneForwardOneBackward({ numStages: 1, numMicrobatches: 1 });
    ctx.step(3, () =>
      runSchedule({ ctx, schedule, chunks: [model], microbatches: [tensor(new Float32Array(48).fill(Number.NaN), [3, 2, 8])], lossOf }),
    );
    expect(write.mock.calls.flat()).toEqual([
      'runSchedule: step 3: the loss over 6 tokens is NaN. Look at the learning rate and at the data of this step.\n',
    ]);
    write.mockRestore();
    model.dispose();
  });

  it('holds as many bytes after step 500 as after step 10', async () => {
    await using ctx = await initializeModelParallel();
    const schedule = scheduleFromCompute('both', ['F0a F0b F1a F1b I0b B0a W0b B1b B1a'], { placement: turningPlacement(1) });
    const chunks = [0, 1].map((stage) => new ToyStage({ stage, numStages: 2 }, ctx).initialize(ctx));
    const optimizer = new Adam(
      chunks.flatMap((chunk) => chunk.parameters()),
      { lr: 1e-3 },
    );
    let bytes = 0;
    let handles = 0;
    for (let step = 1; step <= 500; step++) {
      ctx.step(step, () => {
        runSchedule({ ctx, schedule, chunks, microbatches: microbatchOf, lossOf });
        optimizer.step();
      });
      if (step === 10) ({ liveBytes: bytes, liveHandles: handles } = memoryStats());
    }
    expect(memoryStats()).toMatchObject({ liveBytes: bytes, liveHandles: handles });
    for (const owner of [...chunks, optimizer]) owner.dispose();
  });

  it('releases what a failing step left behind', async () => {
    await using ctx = await initializeModelParallel();
    const model = whole(ctx);
    const failing = () =>
      ctx.step(0, () =>
        runSchedule({
          ctx,
          schedule: gpipe({ numStages: 1, numMicrobatches: 3 }),
          chunks: [model],
          microbatches: microbatchOf,
          lossOf,
          forwardStep: (chunk, input, microbatch) => {
            if (microbatch.toArray()[0] === microbatchOf(2).toArray()[0]) throw new RangeError('no third');
            return (chunk as ToyStage).call(input);
          },
        }),
      );
    expect(failing).toThrow('no third');
    const { liveBytes, liveHandles } = memoryStats();
    expect(failing).toThrow('no third');
    expect(memoryStats()).toMatchObject({ liveBytes, liveHandles });
    model.dispose();
  });
});

describe('the sentences of runSchedule', () => {
  it('refuses what does not fit the schedule', async () => {
    await using ctx = await initializeModelParallel();
    const model = whole(ctx);
    const run = (options: Partial<RunScheduleOptions<Tensor>>) => () =>
      ctx.step(0, () => runSchedule<Tensor>({ ctx, schedule: four, chunks: [model], microbatches: microbatchOf, lossOf, ...options }));
    expect(run({ schedule: oneForwardOneBackward({ numStages: 2, numMicrobatches: 4 }) })).toThrow(
      'runSchedule: schedule "1f1b" is for 2 pipeline ranks, and ctx.pp has 1. Make it with numStages 1.',
    );
    expect(run({ chunks: [model, model] })).toThrow('runSchedule: schedule "1f1b" runs 1 model chunks on a rank, and chunks has 2.');
    expect(run({ microbatches: [] })).toThrow(
      'runSchedule: schedule "1f1b" is for 4 microbatches, and 0 were given. Give 4, or make another schedule.',
    );
    expect(run({ microbatches: () => 3 as unknown as Tensor })).toThrow(
      'runSchedule: a microbatch is neither a tensor nor an object with a tensor in "input". Give inputOf.',
    );
    expect(run({ lossOf: (output) => ({ sum: output, count: 1 }) })).toThrow(
      'runSchedule: lossOf returned a sum of shape [3, 2, 8]. Reduce it to one number, for example with sum().',
    );
    model.dispose();
  });
});
