import {
  allGather,
  allReduce,
  allToAll,
  barrier,
  broadcast,
  exchange,
  finalizeGrads,
  gatherToRoot,
  initializeModelParallel,
  isGradientReducer,
  type ModelParallelOptions,
  type ParallelContext,
  ProcessGroup,
  recv,
  reduce,
  reduceScatter,
  scatter,
  send,
  Work,
} from '@megatron-ts/process-groups';
import { ambient, Parameter, scope, tensor } from '@megatron-ts/tensor';
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';

let ctx: ParallelContext;

beforeAll(async () => {
  ctx = await initializeModelParallel({ seed: 7 });
});
afterEach(() => vi.unstubAllEnvs());
afterAll(() => ctx.destroy());

/** What is refused in a world of this size, seen from this rank. No rank has to arrive for it. */
async function refusal(options: ModelParallelOptions, [rank, worldSize]: readonly [number, number] = [0, 4]): Promise<string> {
  const world = { RANK: rank, WORLD_SIZE: worldSize, LOCAL_RANK: rank, LOCAL_WORLD_SIZE: worldSize };
  for (const [name, value] of Object.entries(world)) vi.stubEnv(name, String(value));
  const error: unknown = await initializeModelParallel(options).then(
    () => 'nothing was refused',
    (cause: unknown) => cause,
  );
  const { name, code, message } = error as { name: string; code: string; message: string };
  return `${name} ${code} ${message}`;
}

describe('a context in a world of one', () => {
  it('has all its groups, of one rank each', () => {
    for (const name of ['tp', 'pp', 'dp', 'cp', 'ep', 'dpCp', 'modelParallel', 'embedding', 'world'])
      expect(ctx.group(name)).toMatchObject({ name, ranks: [0], rank: 0, size: 1 });
    expect(ctx).toMatchObject({ seed: 7, device: 'cpu', isFirstStage: true, isLastStage: true, stopRequested: false });
    expect(ctx.place).toBe('rank 0 (tp 0, dp 0, pp 0)');
    expect(ctx.coordinates('tp')).toMatchObject({ size: 1, rank: 0 });
  });

  it('names its groups when asked for another', () => {
    const sentence = (name: string) =>
      `ParallelContext.group: no group is called "${name}". Use tp, pp, dp, cp, ep, dpCp, modelParallel, embedding or world.`;
    for (const name of ['zp', 'mesh', 'seed', 'toString', '']) expect(() => ctx.group(name)).toThrow(sentence(name));
  });

  it('several live side by side and end one after another', async () => {
    const first = await initializeModelParallel();
    const second = await initializeModelParallel({ seed: 8 });
    await first.destroy();
    await first.destroy();
    expect(second.step(1, () => 5)).toBe(5);
    expect(() => first.step(0, () => 1)).toThrow('ctx.step: the context was destroyed. Initialize a new one.');
    await second.destroy();
  });

  it('tells its step to what runs inside, also in steps within steps, and forgets it', () => {
    const seen = ctx.step(3, () => [ambient.step, ctx.step(4, () => ambient.step), ambient.step]);
    expect(seen).toEqual([3, 4, 3]);
    expect(ambient.step).not.toBe(3);
  });

  it('does not write coordinates before errors where there is but one rank', () => {
    expect(() => ctx.step(0, () => tensor([1, 2], [3]))).toThrow(/^tensor/);
  });

  it('a missing rank and world of a launcher are told before anything else', async () => {
    vi.stubEnv('RANK', '4');
    vi.stubEnv('WORLD_SIZE', '4');
    await expect(initializeModelParallel()).rejects.toThrow('Ranks count from 0 and stay below');
  });
});

describe('a group of one', () => {
  it('returns its input, at once, and needs no engine', () => {
    scope(() => {
      const t = tensor([1, 2, 3]);
      const group = ctx.tp;
      for (const collective of [allReduce, allGather, reduceScatter, broadcast, allToAll, reduce, scatter]) {
        const work = collective(t, { group });
        expect([collective.name, work.isDone, work.wait() === t, work.label]).toEqual([collective.name, true, true, collective.name]);
      }
      expect(gatherToRoot(t, { group }).wait() === t).toBe(true);
      expect(barrier({ group }).wait()).toBeUndefined();
      expect(exchange({ group }).wait()).toEqual([]);
      expect(group.counts()).toMatchObject({ allReduce: 0, bytes: 0 });
    });
  });

  it('settles at once', async () => {
    await expect(new Work('allReduce', 5).settled).resolves.toBe(5);
  });
});

describe('what a collective refuses before anything moves', () => {
  const group = new ProcessGroup({ name: 'tp', ranks: [0, 2, 4], rank: 1, id: undefined });

  it('a first dim that does not divide', () => {
    scope(() => {
      const t = tensor([1, 2, 3, 4], [4, 1]);
      expect(() => reduceScatter(t, { group })).toThrow(
        'reduceScatter on group tp: dim 0 of [4, 1] is not divisible by the group size 3. Pad it to a multiple, or give rows.',
      );
      expect(() => allToAll(t, { group })).toThrow('do not split dim 0 of [4, 1] over 3 ranks.');
      expect(() => allToAll(t, { group, sendRows: [1, 1, 1], receiveRows: [0, 2, 0] })).toThrow(
        'allToAll on group tp: sendRows [1, 1, 1] and receiveRows [0, 2, 0] do not split dim 0 of [4, 1] over 3 ranks. Give one whole number per rank, adding up to 4.',
      );
    });
  });

  it('a scalar where rows are needed', () => {
    scope(() => {
      const scalar = tensor([1], []);
      for (const collective of [allGather, reduceScatter, allToAll, scatter])
        expect(() => collective(scalar, { group })).toThrow(
          `${collective.name} on group tp: a scalar has no first dim. Reshape it to [1].`,
        );
    });
  });

  it('rows that do not fit the ranks or the tensor', () => {
    scope(() => {
      const t = tensor([1, 2, 3, 4], [4, 1]);
      for (const [op, collective] of Object.entries({ allGather, gather: gatherToRoot })) {
        expect(() => collective(t, { group, rows: [4, 3, 4] })).toThrow(
          `${op} on group tp: rows [4, 3, 4] give rank 1 3, but its tensor is [4, 1]. Make them agree.`,
        );
        expect(() => collective(t, { group, rows: [4, 4] })).toThrow(
          `${op} on group tp: rows [4, 4] is no list of 3 whole numbers. Give one for each rank of the group.`,
        );
      }
      for (const [op, collective] of Object.entries({ reduceScatter, scatter })) {
        expect(() => collective(t, { group, rows: [1, 1, 1] })).toThrow(
          `${op} on group tp: rows [1, 1, 1] add up to 3, but dim 0 of [4, 1] is 4. Make them agree.`,
        );
        for (const rows of [
          [5, -1, 0],
          [1.5, 1.5, 1],
          [Number.NaN, 2, 2],
        ])
          expect(() => collective(t, { group, rows })).toThrow('is no list of 3 whole numbers.');
      }
    });
  });

  it('a scatter that nobody can make', () => {
    scope(() => {
      expect(() => scatter(undefined, { group, root: 1, shape: [3] })).toThrow(
        'scatter on group tp: rank 1 is the root and brings no tensor. Pass the one to share out.',
      );
      expect(() => scatter(undefined, { group })).toThrow(
        "scatter on group tp: rank 1 brings no tensor and no shape. Pass the shape of the root's tensor.",
      );
    });
  });

  it('a deadline that is none', () => {
    scope(() => {
      for (const timeoutMs of [0, -1, Number.NaN])
        expect(() => allReduce(tensor([1]), { group, timeoutMs })).toThrow(
          `allReduce on group tp: timeoutMs ${timeoutMs} is not a positive number of milliseconds. Give one, or leave it out.`,
        );
    });
  });

  it('a group that this rank is not in', () => {
    const others = new ProcessGroup({ name: 'pair', ranks: [3, 1], rank: -1, worldRank: 2, id: undefined });
    scope(() => {
      const t = tensor([1]);
      const calls = {
        ...Object.fromEntries(
          [allReduce, allGather, reduceScatter, broadcast, allToAll, reduce, scatter].map((f) => [f.name, () => f(t, { group: others })]),
        ),
        gather: () => gatherToRoot(t, { group: others }),
        send: () => send(t, { group: others, peer: 0 }),
        recv: () => recv(t, { group: others, peer: 0 }),
        exchange: () => exchange({ group: others }),
        barrier: () => barrier({ group: others }),
      };
      for (const [op, call] of Object.entries(calls))
        expect(call).toThrow(`${op} on group pair [3, 1]: this process is rank 2, not one of them. Call it on the group's ranks only.`);
    });
  });

  it('ranks that are not in the group', () => {
    scope(() => {
      const t = tensor([1]);
      for (const [op, rooted] of Object.entries({ reduce, gather: gatherToRoot, scatter }))
        for (const root of [-1, 3, 0.5])
          expect(() => rooted(t, { group, root })).toThrow(`${op} on group tp [0, 2, 4]: there is no rank ${root}. Use ranks 0 to 2`);
      expect(() => send(t, { group, peer: 1 })).toThrow(
        "send on group tp [0, 2, 4]: rank 1 is not another member. Use ranks 0 to 2 of the group, this rank's own excepted.",
      );
      expect(() => recv(t, { group: ctx.tp, peer: 0 })).toThrow('rank 0 is not another member. A group of one has nobody else.');
      expect(() => broadcast(t, { group, root: 3 })).toThrow(
        'broadcast on group tp [0, 2, 4]: there is no rank 3. Use ranks 0 to 2 of the group.',
      );
      expect(() => exchange({ group, sends: [{ peer: 1, tensor: t }] })).toThrow('exchange on group tp [0, 2, 4]: rank 1 is not another');
      expect(() => exchange({ group, receives: [{ peer: -1, tensor: t }] })).toThrow('rank -1 is not another member');
    });
  });
});

describe("a group of one's own", () => {
  it('of one rank needs no engine, and ends with its context', async () => {
    const own = await initializeModelParallel();
    const group = own.newGroup([0], { name: 'alone', timeoutMs: 10 });
    expect(group).toMatchObject({ name: 'alone', ranks: [0], rank: 0, size: 1 });
    expect(own.newGroup([0]).name).toBe('custom');
    await own.destroy();
    expect(() => own.newGroup([0])).toThrow('ctx.newGroup: the context was destroyed. Initialize a new one.');
  });

  it.each<[string, number[], object, string]>([
    ['no ranks', [], {}, 'OUT_OF_RANGE ctx.newGroup: group custom [] has no ranks. Name at least one.'],
    [
      'an unknown rank',
      [0, 3],
      { name: 'pair' },
      'OUT_OF_RANGE ctx.newGroup: group pair [0, 3] names rank 3, but the context covers ranks 0 to 0. Name ranks of the context.',
    ],
    ['a rank with a fraction', [0.5], {}, 'OUT_OF_RANGE ctx.newGroup: group custom [0.5] names rank 0.5, but the context covers'],
    ['a rank named twice', [0, 0], {}, 'CONTRADICTION ctx.newGroup: group custom [0, 0] names rank 0 more than once. Name each rank once.'],
    [
      'a deadline of nothing',
      [0],
      { name: 'pair', slowMs: 0 },
      'INVALID_OPTION ctx.newGroup: group pair: slowMs 0 is not a positive number of milliseconds. Give one.',
    ],
  ])('refuses %s', (_, ranks, options, sentence) => {
    const code = sentence.slice(0, sentence.indexOf(' '));
    const message = expect.stringContaining(sentence.slice(code.length + 1)) as string;
    expect(() => ctx.newGroup(ranks, options)).toThrow(expect.objectContaining({ name: 'ConfigError', code, message }));
  });
});

describe('a flight record of one rank', () => {
  it('is empty: nothing is sent', () => {
    const { job, ...record } = ctx.flightRecord();
    expect(job).toBe(`single-${process.pid}`);
    expect(record).toMatchObject({ rank: 0, worldSize: 1, pid: process.pid, backend: 'solo', reason: 'request', operations: [] });
  });
});

describe('backends', () => {
  const onTwoHosts = { RANK: 1, WORLD_SIZE: 8, LOCAL_RANK: 1, LOCAL_WORLD_SIZE: 4 };

  async function refusalOnTwoHosts(options: ModelParallelOptions): Promise<string> {
    for (const [name, value] of Object.entries(onTwoHosts)) vi.stubEnv(name, String(value));
    return initializeModelParallel(options).then(
      () => 'nothing was refused',
      (error: unknown) => (error as Error).message,
    );
  }

  it('several hosts without an MPI launcher are told what to run', async () => {
    expect(await refusalOnTwoHosts({})).toBe(
      'initializeModelParallel: 4 of 8 ranks are on this host, and torchrun started them, which hands out no MPI. Start them with mpirun -n 8 node <program>, or all on one host.',
    );
  });

  it('shared memory is of one host', async () => {
    expect(await refusalOnTwoHosts({ backend: 'shm' })).toBe(
      'initializeModelParallel: backend shm moves data on one host, but 4 of 8 ranks are on this host. Use mpi or auto.',
    );
  });

  it('unknown ones are refused, and those that exist named', async () => {
    expect(await refusal({ backend: 'gloo' as 'shm' })).toBe(
      'ConfigError INVALID_OPTION initializeModelParallel: backend "gloo" is unknown. Use one of auto, shm, mpi, sim, fake.',
    );
    vi.stubEnv('MEGATRON_BACKEND', 'nccl');
    expect(await refusal({})).toBe(
      'ConfigError INVALID_VARIABLE initializeModelParallel: MEGATRON_BACKEND "nccl" is unknown. Use one of auto, shm, mpi, sim, fake.',
    );
  });

  it('a world that a program states must be the one it was started in', async () => {
    await (await initializeModelParallel({ rank: 0, worldSize: 1 })).destroy();
    await expect(initializeModelParallel({ worldSize: 8 })).rejects.toThrow(
      'initializeModelParallel: worldSize 8 contradicts this process, which no launcher started: it is alone. Leave it out, or start 8 ranks with megatron-ts run --ranks 8.',
    );
    expect(await refusal({ rank: 2 })).toBe(
      'ConfigError CONTRADICTION initializeModelParallel: rank 2 contradicts the launcher: torchrun says that this is rank 0 of 4. Leave it out.',
    );
    expect(await refusal({ worldSize: 8 })).toBe(
      'ConfigError CONTRADICTION initializeModelParallel: worldSize 8 contradicts the launcher: torchrun says that this is rank 0 of 4. Leave it out, or start 8 ranks with megatron-ts run --ranks 8.',
    );
  });
});

describe('bad options', () => {
  it.each<[string, ModelParallelOptions, string]>([
    [
      'a tensor size that does not divide',
      { tensorModelParallelSize: 3 },
      'INDIVISIBLE initializeModelParallel: tensor 3 x pipeline 1 = 3 does not divide the world size 4. Launch 3 or 6 ranks, or change a size.',
    ],
    [
      'a product that does not divide',
      { tensorModelParallelSize: 4, pipelineModelParallelSize: 2 },
      'INDIVISIBLE initializeModelParallel: tensor 4 x pipeline 2 = 8 does not divide the world size 4. Launch 8 ranks, or change a size.',
    ],
    [
      'a size that is no whole number',
      { pipelineModelParallelSize: 1.5 },
      'INVALID_OPTION initializeModelParallel: pipelineModelParallelSize is 1.5. Use a whole number of at least 1.',
    ],
    [
      'virtual stages of one stage',
      { virtualPipelineModelParallelSize: 2 },
      'CONTRADICTION initializeModelParallel: virtualPipelineModelParallelSize 2 divides a pipeline of 1 stage. Use pipelineModelParallelSize of at least 2, or leave it out.',
    ],
    [
      'context parallelism',
      { contextParallelSize: 2 },
      'NOT_BUILT initializeModelParallel: contextParallelSize 2 is not built yet. Use 1.',
    ],
    [
      'expert parallelism',
      { expertModelParallelSize: 4 },
      'NOT_BUILT initializeModelParallel: expertModelParallelSize 4 is not built yet. Use 1.',
    ],
    [
      'ranks outside the world',
      { ranks: [0, 4] },
      'OUT_OF_RANGE initializeModelParallel: ranks holds 4, but the world has ranks 0 to 3. Give ranks of the world.',
    ],
    [
      'a rank named twice',
      { ranks: [0, 1, 1] },
      'CONTRADICTION initializeModelParallel: ranks names rank 1 more than once. Name each rank once.',
    ],
    [
      'ranks without this one',
      { ranks: [2, 3] },
      'OUT_OF_RANGE initializeModelParallel: rank 0 is not among ranks [2, 3]. Call it on these ranks only.',
    ],
    [
      'a seed below zero',
      { seed: -1 },
      'INVALID_OPTION initializeModelParallel: seed -1 is not a whole number from 0 to 2^53 - 1. Give one.',
    ],
    [
      'a seed with a fraction',
      { seed: 0.5 },
      'INVALID_OPTION initializeModelParallel: seed 0.5 is not a whole number from 0 to 2^53 - 1. Give one.',
    ],
    [
      'an unknown device',
      { device: 'gpu' as 'cpu' },
      'INVALID_OPTION initializeModelParallel: device "gpu" is unknown. Use "cpu", "cuda" or "cuda:N".',
    ],
    [
      'a deadline of nothing',
      { timeoutMs: 0 },
      'INVALID_OPTION initializeModelParallel: timeoutMs 0 is not a positive number of milliseconds. Give one.',
    ],
    [
      'no time to join',
      { joinTimeoutMs: -1 },
      'INVALID_OPTION initializeModelParallel: joinTimeoutMs -1 is not a positive number of milliseconds. Give one.',
    ],
    [
      'a warning after no number',
      { slowMs: Number.NaN },
      'INVALID_OPTION initializeModelParallel: slowMs NaN is not a positive number of milliseconds. Give one.',
    ],
  ])('%s', async (_, options, sentence) => {
    expect(await refusal(options)).toBe(`ConfigError ${sentence}`);
  });

  it('several mistakes are told together', async () => {
    expect(await refusal({ tensorModelParallelSize: 2, contextParallelSize: 4, ranks: [0, 1] })).toBe(
      'ConfigError INDIVISIBLE initializeModelParallel: (1) tensor 2 x context 4 x pipeline 1 = 8 does not divide the 2 ranks given. Give 8 ranks, or change a size. (2) contextParallelSize 4 is not built yet. Use 1.',
    );
  });

  it.each(['MEGATRON_TIMEOUT_MS', 'MEGATRON_SLOW_MS', 'MEGATRON_JOIN_TIMEOUT_MS'])(
    '%s that is no number of milliseconds',
    async (variable) => {
      for (const text of ['soon', '0', '-5', 'Infinity']) {
        vi.stubEnv(variable, text);
        expect(await refusal({})).toBe(
          `ConfigError INVALID_VARIABLE initializeModelParallel: ${variable} is "${text}", not a positive number of milliseconds. Correct it or unset it.`,
        );
      }
    },
  );

  it('an option is believed before its variable', async () => {
    vi.stubEnv('MEGATRON_TIMEOUT_MS', 'soon');
    await (await initializeModelParallel({ timeoutMs: 5 })).destroy();
  });
});

describe('finalizeGrads on one rank', () => {
  const parameter = (name: string, values: readonly number[]) => {
    const made = new Parameter({ shape: [values.length] });
    made.initialize(name, ctx);
    scope(() => made.accumulateGrad(tensor(values)));
    return made;
  };

  it('scales every gradient once, and refuses more until it is forgotten', () => {
    const weight = parameter('weight', [2, 4]);
    finalizeGrads([weight], { ctx, scale: 0.25 });
    finalizeGrads([weight], { ctx, scale: 0.25 });
    expect([...(weight.grad?.toArray() ?? [])]).toEqual([0.5, 1]);
    expect(() => weight.gradTarget()).toThrow('parameter "weight": its gradient of the last step is reduced and still there.');
    weight.zeroGrad();
    expect(weight.gradTarget().accumulate).toBe(false);
    weight.dispose();
  });

  it('adds the gradient of a tied use to its owner before scaling', () => {
    const weight = parameter('weight', [2, 4]);
    const tied = weight.tie();
    scope(() => tied.accumulateGrad(tensor([1, 1])));
    finalizeGrads([weight, tied], { ctx, scale: 2 });
    expect([...(weight.grad?.toArray() ?? [])]).toEqual([6, 10]);
    expect(tied.grad).toBeUndefined();
    weight.dispose();
    tied.dispose();
  });

  it('leaves a parameter without a gradient without one', () => {
    const weight = new Parameter({ shape: [2] });
    weight.initialize('weight', ctx);
    finalizeGrads([weight], { ctx, scale: 3 });
    expect(weight.grad).toBeUndefined();
    weight.dispose();
  });
});

describe('a gradient reducer', () => {
  it('is known by what it can do', () => {
    expect(isGradientReducer({ beginStep: () => undefined, finalizeGrads: () => undefined })).toBe(true);
    expect(isGradientReducer({ finalizeGrads: () => undefined })).toBe(false);
  });
});
