import { ConfigError } from '@megatron-ts/errors';
import { launcherProcess, resolveLaunch, threadsPerRank } from '@megatron-ts/launch';
import { createMesh } from '@megatron-ts/mesh';
import { engine } from '@megatron-ts/tensor';
import { availableParallelism } from 'node:os';
import { ParallelContext } from './parallel-context.ts';
import { World } from './world.ts';

/** Sizes of the mesh and settings of a run. */
export interface ModelParallelOptions {
  /** Ranks that share each layer's matrices; 1 by default. */
  readonly tensorModelParallelSize?: number;
  /** Stages; 1 by default. */
  readonly pipelineModelParallelSize?: number;
  /** Model chunks per stage; 1 by default. */
  readonly virtualPipelineModelParallelSize?: number;
  /** Ranks that share each sequence; only 1 is built. */
  readonly contextParallelSize?: number;
  /** Ranks that share the experts; only 1 is built. */
  readonly expertModelParallelSize?: number;
  /** Seed of initial values and dropout; 1234 by default. */
  readonly seed?: number;
  /** Where tensors live; the CPU. */
  readonly device?: 'cpu';
  /** World ranks the mesh covers, this rank among them; all by default. */
  readonly ranks?: readonly number[];
  /**
   * A collective that takes longer fails and names who is missing; 600 000 ms by default, `MEGATRON_TIMEOUT_MS` otherwise. Of several
   * contexts in one process the first decides.
   */
  readonly timeoutMs?: number;
  /** A collective that takes longer is warned about; 5000 ms by default, `MEGATRON_SLOW_MS` otherwise. The first context decides. */
  readonly slowMs?: number;
}

/**
 * Joins this process's world and lays the mesh over it; the data-parallel size is what the others leave.
 * Which rank this is comes from the launcher (`megatron-ts run`, torchrun, mpirun, srun); without one it is a world of one.
 * @throws ConfigError for sizes that do not fit, all broken rules in one sentence
 * @throws ProcessGroupError when ranks do not arrive
 */
export async function initializeModelParallel(options: ModelParallelOptions = {}): Promise<ParallelContext> {
  const {
    seed = 1234,
    device = 'cpu',
    ranks,
    timeoutMs = milliseconds('MEGATRON_TIMEOUT_MS', 600_000),
    slowMs = milliseconds('MEGATRON_SLOW_MS', 5000),
    ...sizes
  } = options;
  checkSettings({ seed, device, timeoutMs, slowMs });
  const launch = resolveLaunch();
  if (launch.rank === 0) for (const warning of launch.warnings) process.stderr.write(`${warning}\n`);
  const mesh = createMesh({ worldSize: launch.worldSize, ...sizes, ...(ranks === undefined ? {} : { ranks }) });
  if (!mesh.includes(launch.rank))
    throw new ConfigError(
      'OUT_OF_RANGE',
      `initializeModelParallel: rank ${launch.rank} is not among ranks [${mesh.ranks.join(', ')}]. Call it on these ranks only.`,
    );
  const threads = threadsPerRank(launch.localWorldSize);
  engine.setThreads(threads);
  engine.setOversubscribed(threads * launch.localWorldSize > availableParallelism());
  engine.installSignalHandlers();
  const launcher = launcherProcess();
  if (launcher !== undefined) engine.dieWithParent(launcher);
  const world = World.join(launch, { timeoutMs, slowMs });
  return new ParallelContext({ launch, mesh, world, seed, device });
}

function milliseconds(variable: string, fallback: number): number {
  const text = process.env[variable];
  if (text === undefined || text === '') return fallback;
  const value = Number(text);
  if (Number.isFinite(value) && value > 0) return value;
  throw new ConfigError(
    'INVALID_VARIABLE',
    `initializeModelParallel: ${variable} is ${JSON.stringify(text)}, not a positive number of milliseconds. Correct it or unset it.`,
  );
}

function checkSettings({
  seed,
  device,
  timeoutMs,
  slowMs,
}: {
  readonly seed: number;
  readonly device: string;
  readonly timeoutMs: number;
  readonly slowMs: number;
}): void {
  if (!Number.isSafeInteger(seed) || seed < 0)
    throw new ConfigError('INVALID_OPTION', `initializeModelParallel: seed ${seed} is not a whole number from 0 to 2^53 - 1. Give one.`);
  if (device !== 'cpu') throw new ConfigError('INVALID_OPTION', `initializeModelParallel: device "${device}" is not built. Use "cpu".`);
  for (const [name, value] of Object.entries({ timeoutMs, slowMs }))
    if (!(value > 0))
      throw new ConfigError(
        'INVALID_OPTION',
        `initializeModelParallel: ${name} ${value} is not a positive number of milliseconds. Give one.`,
      );
}
