import { describe, expect, it } from 'vitest';
import { resolveLaunch } from '@megatron-ts/launch';

const torchrun = { RANK: '5', WORLD_SIZE: '8', LOCAL_RANK: '1', LOCAL_WORLD_SIZE: '4', MASTER_ADDR: 'head', MASTER_PORT: '4000' };
const openMpi = {
  OMPI_COMM_WORLD_RANK: '2',
  OMPI_COMM_WORLD_SIZE: '4',
  OMPI_COMM_WORLD_LOCAL_RANK: '0',
  OMPI_COMM_WORLD_LOCAL_SIZE: '2',
};
const slurmStep = {
  SLURM_JOB_ID: '77',
  SLURM_STEP_ID: '3',
  SLURM_PROCID: '3',
  SLURM_STEP_NUM_TASKS: '4',
  SLURM_LOCALID: '1',
  SLURM_NODEID: '1',
  SLURM_STEP_TASKS_PER_NODE: '2(x2)',
  SLURM_STEP_NODELIST: 'n[07-09,12],login',
};

describe('resolveLaunch', () => {
  it('finds a world of one where nothing is set', () => {
    const launch = resolveLaunch({});
    expect(launch).toMatchObject({
      rank: 0,
      worldSize: 1,
      localRank: 0,
      localWorldSize: 1,
      source: 'single',
      masterAddr: '127.0.0.1',
      warnings: [],
    });
    expect(launch.job).toBe(`single-${process.pid}`);
  });

  it('reads torchrun', () => {
    const launch = resolveLaunch({ ...torchrun, TORCHELASTIC_RUN_ID: 'a/b', TORCHELASTIC_RESTART_COUNT: '2' });
    expect(launch).toMatchObject({
      rank: 5,
      worldSize: 8,
      localRank: 1,
      localWorldSize: 4,
      source: 'torchrun',
      masterAddr: 'head',
      masterPort: 4000,
    });
    expect(launch.job).toBe('torchrun-a-b-4000-2');
  });

  it('reads Open MPI, and Hydra with its local pair or with that of Slurm', () => {
    expect(resolveLaunch(openMpi)).toMatchObject({ rank: 2, worldSize: 4, localRank: 0, localWorldSize: 2, source: 'openmpi' });
    const hydra = { PMI_RANK: '3', PMI_SIZE: '4', MPI_LOCALRANKID: '1', MPI_LOCALNRANKS: '2' };
    expect(resolveLaunch(hydra)).toMatchObject({ rank: 3, worldSize: 4, localRank: 1, localWorldSize: 2, source: 'pmi' });
    const underSrun = { PMI_RANK: '3', PMI_SIZE: '4', SLURM_LOCALID: '1', SLURM_NODEID: '1', SLURM_STEP_TASKS_PER_NODE: '2(x2)' };
    expect(resolveLaunch(underSrun)).toMatchObject({ rank: 3, worldSize: 4, localRank: 1, localWorldSize: 2, source: 'pmi' });
  });

  it('reads a Slurm step, its first host and a port that all tasks agree on', () => {
    const launch = resolveLaunch(slurmStep);
    expect(launch).toMatchObject({
      rank: 3,
      worldSize: 4,
      localRank: 1,
      localWorldSize: 2,
      source: 'slurm',
      masterAddr: 'n07',
      job: 'slurm-77-3',
    });
    expect(launch.masterPort).toBe(20_000 + ((77 * 64 + 3) % 20_000));
  });

  it('takes RANK without LOCAL_RANK for one process per pod', () => {
    expect(resolveLaunch({ RANK: '1', WORLD_SIZE: '2' })).toMatchObject({
      rank: 1,
      worldSize: 2,
      localRank: 0,
      localWorldSize: 1,
      source: 'pod',
    });
  });

  it('believes options, then MEGATRON_*, then torchrun, and warns naming both where they contradict each other', () => {
    const own = { MEGATRON_RANK: '0', MEGATRON_WORLD_SIZE: '2', MEGATRON_LOCAL_RANK: '0', MEGATRON_LOCAL_WORLD_SIZE: '2' };
    const launch = resolveLaunch({ ...torchrun, ...own });
    expect(launch).toMatchObject({ rank: 0, worldSize: 2, source: 'megatron' });
    expect(launch.warnings).toEqual([
      "launch: megatron says rank 0 of 2, torchrun says rank 5 of 8. Taking megatron; unset the other's variables to end this warning.",
    ]);
    expect(resolveLaunch(own, { rank: 1, worldSize: 3 })).toMatchObject({
      rank: 1,
      worldSize: 3,
      localRank: 1,
      localWorldSize: 3,
      source: 'options',
    });
  });

  it('does not warn when the launcher below counts hosts, as with torchrun under srun', () => {
    expect(resolveLaunch({ ...torchrun, ...slurmStep, SLURM_PROCID: '1', SLURM_STEP_NUM_TASKS: '2', GROUP_RANK: '1' }).warnings).toEqual(
      [],
    );
    expect(resolveLaunch({ ...torchrun, ...slurmStep, SLURM_PROCID: '1', GROUP_RANK: '0' }).warnings).toHaveLength(1);
  });

  it('asks for srun inside a batch script, instead of waiting for ranks that never come', () => {
    const launch = resolveLaunch({ SLURM_JOB_ID: '77', SLURM_NTASKS: '4', SLURM_PROCID: '0' });
    expect(launch).toMatchObject({ rank: 0, worldSize: 1, source: 'single' });
    expect(launch.warnings.join()).toContain('this Slurm job has 4 tasks');
    expect(launch.warnings.join()).toContain('Did you forget srun?');
  });

  it.each(['one', '1.5', '-1', '1e3', '0x2'])('refuses a RANK of %j by name', (value) => {
    expect(() => resolveLaunch({ ...torchrun, RANK: value })).toThrow(
      expect.objectContaining({
        code: 'INVALID_VARIABLE',
        message: `launch: RANK is ${JSON.stringify(value)}. Set it to a whole number from 0, or unset it.`,
      }),
    );
  });

  it('refuses a launcher that sets only some of its variables, and ranks out of range', () => {
    const { LOCAL_WORLD_SIZE: _, ...incomplete } = torchrun;
    expect(() => resolveLaunch(incomplete)).toThrow('launch: LOCAL_RANK is set but LOCAL_WORLD_SIZE is not. Set both, or neither.');
    expect(() => resolveLaunch({ ...torchrun, RANK: '8' })).toThrow('launch: torchrun says this is rank 8 of 8, on its host 1 of 4.');
    expect(() => resolveLaunch({}, { rank: 1 })).toThrow('launch: options give rank 1 and worldSize undefined. Give both, or neither.');
    expect(() => resolveLaunch({ MASTER_PORT: '70000' })).toThrow('launch: the master port is 70000. Use 1 to 65535.');
    expect(() => resolveLaunch({ ...slurmStep, SLURM_STEP_TASKS_PER_NODE: 'two' })).toThrow('SLURM_STEP_TASKS_PER_NODE is "two"');
  });

  it('takes an empty variable for one that is not set', () => {
    expect(resolveLaunch({ RANK: '', WORLD_SIZE: ' ' })).toMatchObject({ source: 'single' });
  });
});
