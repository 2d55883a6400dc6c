import { ConfigError } from '@megatron-ts/errors';
import { type Launch, launcherProcess, threadsPerRank } from '@megatron-ts/launch';
import { createMesh } from '@megatron-ts/mesh';
import { engine } from '@megatron-ts/tensor';
import { availableParallelism } from 'node:os';
import { isMainThread } from 'node:worker_threads';
import { askedBackend, type Backend, backendFor } from './backend.ts';
import { deadlinesFor } from './deadlines.ts';
import { type Device, deviceFor, nameOfDevice } from './device-for.ts';
import { launchFor } from './launch-for.ts';
import { stayOn } from './living-devices.ts';
import { ParallelContext } from './parallel-context.ts';
import { recorderPlace } from './recorder-place.ts';
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
  /**
   * Where tensors live; `MEGATRON_DEVICE`, or else the CPU. On a device of CUDA operations are launched as the guide to CUDA devices says,
   * and groups move memory by NCCL. With `cuda` the ranks of a host take its devices in turn, with `cuda:N` all of them that one. Of several
   * contexts that live, new tensors lie on the device of the one made last.
   */
  readonly device?: Device | 'cuda';
  /** World ranks the mesh covers, this rank among them; all by default. */
  readonly ranks?: readonly number[];
  /**
   * What moves data between ranks; `MEGATRON_BACKEND`, or else `auto`: `shm` where all ranks are on one host, otherwise `mpi`. With `fake`
   * this process plays one rank of a world alone, and others one after another: every operation ends at once and nothing moves.
   */
  readonly backend?: Backend | 'auto';
  /** The rank to play with backend `fake`; otherwise it must agree with the launcher. */
  readonly rank?: number;
  /** The size of the world to play in with backend `fake`; otherwise it must agree with the launcher. */
  readonly worldSize?: number;
  /** A collective of this context that takes longer fails and names who is missing; `MEGATRON_TIMEOUT_MS`, or else 600 000 ms. */
  readonly timeoutMs?: number;
  /** A collective of this context that takes longer is warned about; `MEGATRON_SLOW_MS`, or else 5000 ms. */
  readonly slowMs?: number;
  /**
   * How long ranks may take to arrive: the limit of joining, and of the first operation on each group where `timeoutMs` is not longer.
   * `MEGATRON_JOIN_TIMEOUT_MS`, or else 1 800 000 ms, or `timeoutMs` when that is longer. Of several contexts the first decides how long
   * joining may take.
   */
  readonly joinTimeoutMs?: number;
  /**
   * Whether this process exits with status 1 when it still runs ten seconds after its world has failed; true by default, except in worker
   * threads. Of several contexts the first decides.
   */
  readonly exitOnFailure?: boolean;
}

const exitGraceMs = 10_000;

/**
 * Joins this process's world and lays the mesh over it; the data-parallel size is what the others leave.
 * Which rank this is comes from the launcher (`megatron-ts run`, torchrun, mpirun, srun); without one it is a world of one.
 * @throws ConfigError for sizes that do not fit, all broken rules in one sentence, and for settings that contradict the launcher
 * @throws EngineError ENGINE_REFUSED for a device that cannot be opened
 * @throws ProcessGroupError JOIN_FAILED when ranks do not arrive
 */
export async function initializeModelParallel(options: ModelParallelOptions = {}): Promise<ParallelContext> {
  const {
    seed = 1234,
    device: deviceOption,
    ranks,
    backend,
    rank,
    worldSize,
    timeoutMs,
    slowMs,
    joinTimeoutMs,
    exitOnFailure = isMainThread,
    ...sizes
  } = options;
  checkSeed(seed);
  const deadlines = deadlinesFor({ timeoutMs, slowMs, joinTimeoutMs });
  const asked = askedBackend(backend);
  const launch = launchFor(asked, { rank, worldSize });
  const isPlayed = asked === 'fake';
  const device = deviceFor(deviceOption, { ...launch, isPlayed, visible: () => engine.cudaDevices() });
  if (launch.rank === 0) for (const warning of launch.warnings) process.stderr.write(`${warning}\n`);
  const mesh = createMesh({ worldSize: launch.worldSize, ...sizes, ...(ranks === undefined ? {} : { ranks }) });
  if (!mesh.includes(launch.rank))
    throw new ConfigError(
      'OUT_OF_RANGE',
      `initializeModelParallel: rank ${launch.rank} is not among ranks [${mesh.ranks.join(', ')}]. Call it on these ranks only.`,
    );
  const carrier = backendFor(asked, launch);
  prepareProcess(launch);
  const leaveDevice = stayOn(device);
  try {
    const world = World.join(launch, {
      backend: carrier,
      onDevice: device.kind === 'cuda',
      deadlines,
      recorder: recorderPlace(launch),
      exitGraceMs: exitOnFailure ? exitGraceMs : undefined,
    });
    return new ParallelContext({ launch, mesh, world, deadlines, seed, device: nameOfDevice(device), leaveDevice });
  } catch (cause) {
    leaveDevice();
    throw cause;
  }
}

/** What belongs to the process: threads, signals, and its end when that of its launcher comes first. */
function prepareProcess({ localWorldSize }: Launch): void {
  const threads = threadsPerRank(localWorldSize);
  engine.setThreads(threads);
  engine.setOversubscribed(threads * localWorldSize > availableParallelism());
  if (!isMainThread) return; // signals and the parent are the business of the thread that started this one
  engine.installSignalHandlers();
  const launcher = launcherProcess();
  if (launcher !== undefined) engine.dieWithParent(launcher);
}

function checkSeed(seed: number): void {
  if (!Number.isSafeInteger(seed) || seed < 0)
    throw new ConfigError('INVALID_OPTION', `initializeModelParallel: seed ${seed} is not a whole number from 0 to 2^53 - 1. Give one.`);
}
