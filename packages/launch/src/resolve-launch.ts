import { ConfigError } from '@megatron-ts/errors';
import { type LaunchRow, type LaunchSource, rowsOf } from './launch-row.ts';
import { firstHost } from './slurm-step.ts';
import { type Environment, textOf, wholeNumberOf } from './whole-number.ts';

/** Which rank this process is, and where its world meets. */
export interface Launch {
  /** This process's number in the world. */
  readonly rank: number;
  /** How many processes the world has. */
  readonly worldSize: number;
  /** This process's number on its host. */
  readonly localRank: number;
  /** How many processes of the world are on this host. */
  readonly localWorldSize: number;
  /** Host of rank 0. */
  readonly masterAddr: string;
  /** Port on that host. */
  readonly masterPort: number;
  /** Name of this run, the same on all its ranks; names of shared memory begin with it. */
  readonly job: string;
  /** Whose word was taken. */
  readonly source: LaunchSource;
  /** Sentences for the user: launchers that contradict each other, a forgotten srun. */
  readonly warnings: readonly string[];
}

/** What a program says itself; it is believed before any variable. */
export interface LaunchOptions {
  /** This process's number in the world; needs `worldSize`. */
  readonly rank?: number | undefined;
  /** How many processes the world has. */
  readonly worldSize?: number | undefined;
  /** This process's number on its host; `rank` when absent. */
  readonly localRank?: number | undefined;
  /** Processes on this host; `worldSize` when absent. */
  readonly localWorldSize?: number | undefined;
  /** Host of rank 0. */
  readonly masterAddr?: string | undefined;
  /** Port on that host. */
  readonly masterPort?: number | undefined;
  /** Name of this run, the same on all its ranks. */
  readonly job?: string | undefined;
}

const single: LaunchRow = { source: 'single', rank: 0, worldSize: 1, localRank: 0, localWorldSize: 1 };

/**
 * Finds out which rank this process is. The first that speaks is believed: options, `MEGATRON_*`, torchrun, Open MPI,
 * Hydra (PMI), a Slurm step, one process per pod; with none of them it is a world of one.
 * @throws ConfigError INVALID_VARIABLE, MISSING_VARIABLE, OUT_OF_RANGE
 */
export function resolveLaunch(env: Environment = process.env, options: LaunchOptions = {}): Launch {
  const rows = [optionsRow(options), ...rowsOf(env)].filter((row) => row !== undefined);
  const row = rows[0] ?? single;
  checkRange(row);
  const warnings = rows
    .slice(1)
    .filter((other) => disagrees(row, other, env))
    .map((other) => contradiction(row, other));
  if (row.source === 'single') warnings.push(...forgottenSrun(env));
  const master = masterOf(env, options);
  return { ...row, ...master, job: options.job ?? jobOf(env, row, master), warnings };
}

function optionsRow({ rank, worldSize, localRank, localWorldSize }: LaunchOptions): LaunchRow | undefined {
  if (rank === undefined && worldSize === undefined) return undefined;
  if (rank === undefined || worldSize === undefined) {
    throw new ConfigError('MISSING_OPTION', `launch: options give rank ${rank} and worldSize ${worldSize}. Give both, or neither.`);
  }
  return { source: 'options', rank, worldSize, localRank: localRank ?? rank, localWorldSize: localWorldSize ?? worldSize };
}

function checkRange({ source, rank, worldSize, localRank, localWorldSize }: LaunchRow): void {
  if (rank < worldSize && localRank < localWorldSize && localWorldSize <= worldSize) return;
  const ranks = `rank ${rank} of ${worldSize}, on its host ${localRank} of ${localWorldSize}`;
  throw new ConfigError('OUT_OF_RANGE', `launch: ${source} says this is ${ranks}. Ranks count from 0 and stay below their world's size.`, {
    fields: { rank, worldSize, localRank, localWorldSize },
  });
}

/** Whether a launcher lower down says something else. One that counts hosts (torchrun below srun) agrees. */
function disagrees(row: LaunchRow, other: LaunchRow, env: Environment): boolean {
  if (other.rank === row.rank && other.worldSize === row.worldSize) return false;
  return other.rank !== wholeNumberOf(env, 'GROUP_RANK');
}

function contradiction(row: LaunchRow, other: LaunchRow): string {
  const said = `${row.source} says rank ${row.rank} of ${row.worldSize}, ${other.source} says rank ${other.rank} of ${other.worldSize}`;
  return `launch: ${said}. Taking ${row.source}; unset the other's variables to end this warning.`;
}

/** Inside a batch script Slurm has set how many tasks there will be, but no step runs yet. */
function forgottenSrun(env: Environment): string[] {
  const tasks = wholeNumberOf(env, 'SLURM_NTASKS') ?? 1;
  if (tasks < 2 || textOf(env, 'SLURM_JOB_ID') === undefined) return [];
  return [
    `launch: this Slurm job has ${tasks} tasks, but this process was not started by a step, so it is a world of one. Did you forget srun?`,
  ];
}

interface Master {
  readonly masterAddr: string;
  readonly masterPort: number;
}

function masterOf(env: Environment, options: LaunchOptions): Master {
  const masterAddr = options.masterAddr ?? textOf(env, 'MASTER_ADDR') ?? textOf(env, 'PET_MASTER_ADDR') ?? slurmHost(env) ?? '127.0.0.1';
  const masterPort =
    options.masterPort ?? wholeNumberOf(env, 'MASTER_PORT', 1) ?? wholeNumberOf(env, 'PET_MASTER_PORT', 1) ?? slurmPort(env) ?? 29500;
  if (masterPort <= 65535) return { masterAddr, masterPort };
  throw new ConfigError('OUT_OF_RANGE', `launch: the master port is ${masterPort}. Use 1 to 65535.`, { fields: { masterPort } });
}

function slurmHost(env: Environment): string | undefined {
  const hosts = textOf(env, 'SLURM_STEP_NODELIST');
  return hosts === undefined ? undefined : firstHost(hosts);
}

/** A port that all tasks of a step agree on without talking. */
function slurmPort(env: Environment): number | undefined {
  const job = wholeNumberOf(env, 'SLURM_JOB_ID');
  const step = wholeNumberOf(env, 'SLURM_STEP_ID');
  return job === undefined || step === undefined ? undefined : 20_000 + ((job * 64 + step) % 20_000);
}

/** A name that all ranks of this run share and no other run has. */
function jobOf(env: Environment, { source }: LaunchRow, { masterAddr, masterPort }: Master): string {
  const own = textOf(env, 'MEGATRON_JOB');
  const attempt = textOf(env, 'TORCHELASTIC_RESTART_COUNT') ?? '0';
  const names: Partial<Record<LaunchSource, string>> = {
    single: `single-${process.pid}`,
    torchrun: `torchrun-${textOf(env, 'TORCHELASTIC_RUN_ID') ?? 'none'}-${masterPort}-${attempt}`,
    openmpi: `openmpi-${textOf(env, 'PMIX_NAMESPACE') ?? textOf(env, 'OMPI_MCA_ess_base_jobid') ?? process.ppid}`,
    pmi: `pmi-${textOf(env, 'SLURM_JOB_ID') ?? process.ppid}`, // ranks of one host share their proxy
    slurm: `slurm-${textOf(env, 'SLURM_JOB_ID') ?? ''}-${textOf(env, 'SLURM_STEP_ID') ?? ''}`,
  };
  return (own ?? names[source] ?? `${masterAddr}-${masterPort}`).replaceAll(/[^A-Za-z0-9.-]/g, '-');
}
