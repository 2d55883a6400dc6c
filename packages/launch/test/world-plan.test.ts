import { describe, expect, it } from 'vitest';
import { planWorld, rankEnvironment, resolveLaunch, threadsPerRank } from '@megatron-ts/launch';

describe('planWorld', () => {
  it('starts all ranks of one host, under a name that no other run has', () => {
    const plan = planWorld({ ranksPerNode: 4 }, {});
    expect(plan).toMatchObject({ worldSize: 4, firstRank: 0, localWorldSize: 4, node: { rank: 0, size: 1 }, masterAddr: '127.0.0.1' });
    expect(plan.job).not.toBe(planWorld({ ranksPerNode: 4 }, {}).job);
  });

  it('starts the ranks of its own host among several, under a name that all hosts agree on', () => {
    const request = { ranksPerNode: 2, nodes: 3, masterAddr: 'head', masterPort: 4000 };
    const plan = planWorld({ ...request, nodeRank: 1 }, {});
    expect(plan).toMatchObject({ worldSize: 6, firstRank: 2, localWorldSize: 2, node: { rank: 1, size: 3 } });
    expect(plan.job).toBe(planWorld({ ...request, nodeRank: 2 }, {}).job);
  });

  it('reads what cluster managers say of hosts, and believes the command line first', () => {
    const kubeflow = { PET_NNODES: '2', PET_NPROC_PER_NODE: '4', PET_NODE_RANK: '1', PET_MASTER_ADDR: 'head', PET_MASTER_PORT: '29500' };
    expect(planWorld({}, kubeflow)).toMatchObject({ worldSize: 8, firstRank: 4, masterAddr: 'head', masterPort: 29500 });
    expect(planWorld({ ranksPerNode: 1 }, kubeflow)).toMatchObject({ worldSize: 2, firstRank: 1 });
    const skypilot = {
      SKYPILOT_NUM_NODES: '2',
      SKYPILOT_NODE_RANK: '0',
      SKYPILOT_NODE_IPS: '10.0.0.4\n10.0.0.5',
      SKYPILOT_NUM_GPUS_PER_NODE: '8',
    };
    expect(planWorld({}, skypilot)).toMatchObject({ worldSize: 16, firstRank: 0, masterAddr: '10.0.0.4' });
  });

  it('asks for what several hosts need', () => {
    expect(() => planWorld({ nodes: 2, masterAddr: 'head' }, {})).toThrow(
      'run: --nnodes is 2, but which of them is this? Give --node-rank, from 0 to 1.',
    );
    expect(() => planWorld({ nodes: 2, nodeRank: 0 }, {})).toThrow('run: --nnodes is 2, but where is rank 0?');
    expect(() => planWorld({ nodes: 2, nodeRank: 2, masterAddr: 'head' }, {})).toThrow(
      'run: --node-rank is 2 with --nnodes 2. Use 0 to 1.',
    );
  });
});

describe('rankEnvironment', () => {
  it('is what resolveLaunch reads, and overrules what the launcher itself was started with', () => {
    const plan = planWorld({ ranksPerNode: 2, nodes: 2, nodeRank: 1, masterAddr: 'head' }, {});
    const env = rankEnvironment(plan, 1, { MEGATRON_RANK: '0', RANK: '9', PATH: '/bin', SLURM_PROCID: '1', SLURM_STEP_NUM_TASKS: '2' });
    expect(env['PATH']).toBe('/bin');
    expect(resolveLaunch(env)).toEqual({
      rank: 3,
      worldSize: 4,
      localRank: 1,
      localWorldSize: 2,
      masterAddr: 'head',
      masterPort: 29500,
      job: plan.job,
      source: 'torchrun',
      warnings: [],
    });
  });
});

describe('threadsPerRank', () => {
  it('divides the cores among the ranks of a host, and leaves each at least one', () => {
    expect([1, 2, 3, 8, 16].map((ranks) => threadsPerRank(ranks, { env: {}, cores: 8 }))).toEqual([8, 4, 2, 1, 1]);
  });

  it('believes MEGATRON_THREADS, then OMP_NUM_THREADS', () => {
    expect(threadsPerRank(4, { env: { OMP_NUM_THREADS: '3' }, cores: 8 })).toBe(3);
    expect(threadsPerRank(4, { env: { OMP_NUM_THREADS: '3', MEGATRON_THREADS: '5' }, cores: 8 })).toBe(5);
    expect(() => threadsPerRank(4, { env: { MEGATRON_THREADS: '0' } })).toThrow(
      'launch: MEGATRON_THREADS is "0". Set it to a whole number from 1, or unset it.',
    );
  });
});
