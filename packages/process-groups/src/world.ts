import { type FlightRecord, parseFlightRecord, recordFormat, recordVersion } from '@megatron-ts/flight-recorder';
import type { Launch } from '@megatron-ts/launch';
import { engine } from '@megatron-ts/tensor';
import { hostname } from 'node:os';
import type { Backend } from './backend.ts';
import type { Deadlines } from './deadlines.ts';
import { ProcessGroup } from './process-group.ts';
import type { RecorderPlace } from './recorder-place.ts';
import { shareDevices } from './share-devices.ts';

/** How a world is joined. */
export interface WorldSettings {
  /** What moves its data. */
  readonly backend: Backend;
  /** Whether NCCL is laid over that, between this thread's device and those of the other ranks. */
  readonly onDevice: boolean;
  /** How long joining may take, and the deadlines of operations of the world itself. */
  readonly deadlines: Deadlines;
  /** Where the flight recorder writes. */
  readonly recorder: RecorderPlace;
  /** How long the process may run on after its world has failed, in milliseconds; for ever when absent. */
  readonly exitGraceMs: number | undefined;
}

/** One rank in one job, for as long as the process or, for a rank that is only played, its contexts. */
interface Membership {
  readonly key: string;
  readonly handle: number;
  /** How often contexts over the same ranks were opened. */
  readonly opened: Map<string, number>;
  /** Contexts that use it. */
  users: number;
}

// A process is a member of its job once, however many contexts it opens, and until it ends: the one thing that belongs to the process.
const memberships = new Map<string, Membership>();

function join(key: string, launch: Launch, settings: WorldSettings): Membership {
  const { rank, worldSize: size, localWorldSize } = launch;
  const { backend, onDevice, deadlines, recorder, exitGraceMs } = settings;
  const handle = engine.worldJoin({
    job: jobOf(launch, onDevice),
    rank,
    size,
    localSize: localWorldSize,
    backend,
    onDevice,
    ...deadlines,
    recordOnSlow: recorder.isChosen,
    ...(recorder.directory === undefined ? {} : { recorderDirectory: recorder.directory }),
    ...(exitGraceMs === undefined ? {} : { exitGraceMs }),
  });
  if (backend !== 'fake')
    process.once('exit', (code) => {
      if (code === 0) engine.worldLeave(handle); // peers of a rank that failed are told that it died, not that it left
    });
  if (onDevice) meet(handle, launch, deadlines);
  return { key, handle, opened: new Map(), users: 0 };
}

/** A process may be a member with and without a device. */
function jobOf({ job }: Launch, onDevice: boolean): string {
  return onDevice ? `${job}-cuda` : job;
}

/** Before NCCL is asked for anything the ranks tell each other which device they have. */
function meet(handle: number, launch: Launch, deadlines: Deadlines): void {
  const { rank, worldSize } = launch;
  const ranks = Array.from({ length: worldSize }, (_, other) => other);
  const id = engine.groupOpen(handle, Uint32Array.from(ranks), { name: 'devices', ...deadlines });
  shareDevices(new ProcessGroup({ name: 'devices', ranks, rank, id }), launch);
  engine.groupClose(id);
}

/** This process's membership of a job, as one context uses it. */
export class World {
  private readonly launch: Launch;
  private readonly membership: Membership | undefined;
  private readonly isPlayed: boolean;

  private constructor(launch: Launch, membership: Membership | undefined, isPlayed: boolean) {
    this.launch = launch;
    this.membership = membership;
    this.isPlayed = isPlayed;
  }

  /**
   * Joins the job, or uses the membership there is: of several contexts the first decides its settings. A world of one needs none.
   * @throws ProcessGroupError JOIN_FAILED when ranks do not arrive, or are not what they should be
   */
  static join(launch: Launch, settings: WorldSettings): World {
    const isPlayed = settings.backend === 'fake';
    if (launch.worldSize === 1) return new World(launch, undefined, isPlayed);
    const key = `${settings.backend} ${jobOf(launch, settings.onDevice)} ${launch.rank} of ${launch.worldSize}`;
    const membership = memberships.get(key) ?? join(key, launch, settings);
    memberships.set(key, membership);
    membership.users++;
    return new World(launch, membership, isPlayed);
  }

  /** A number that tells contexts over the same ranks apart, the same on all of them. */
  nextContext(ranks: readonly number[]): number {
    const key = ranks.join(',');
    const number = this.membership?.opened.get(key) ?? 0;
    this.membership?.opened.set(key, number + 1);
    return number;
  }

  /** Opens a group of world ranks; none is needed for one rank. */
  openGroup(name: string, ranks: readonly number[], deadlines: Deadlines): number | undefined {
    if (ranks.length === 1 || this.membership === undefined) return undefined;
    return engine.groupOpen(this.membership.handle, Uint32Array.from(ranks), { name, ...deadlines });
  }

  /** What this rank posted so far. */
  flightRecord(): FlightRecord {
    if (this.membership !== undefined) return parseFlightRecord(engine.worldRecord(this.membership.handle), 'ctx.flightRecord');
    const { job, rank, worldSize } = this.launch;
    return {
      format: recordFormat,
      version: recordVersion,
      ...{ job, rank, worldSize, host: hostname(), pid: process.pid, backend: 'solo' },
      writtenMs: Date.now(),
      reason: 'request',
      failure: null,
      dropped: 0,
      groups: [],
      operations: [],
    };
  }

  /** Ends one context's use. A rank that is only played leaves with its last one, so that the next rank finds its memory free. */
  release(): void {
    const { membership } = this;
    if (membership === undefined || --membership.users > 0 || !this.isPlayed) return;
    memberships.delete(membership.key);
    engine.worldLeave(membership.handle);
  }
}
