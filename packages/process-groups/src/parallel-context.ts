import { ConfigError, MegatronError, ProcessGroupError } from '@megatron-ts/errors';
import type { FlightRecord } from '@megatron-ts/flight-recorder';
import type { Launch } from '@megatron-ts/launch';
import type { Mesh } from '@megatron-ts/mesh';
import { ambient, type AxisPlace, engine, type InitializationContext, scope, type Synchronous, tensor } from '@megatron-ts/tensor';
import { allReduce } from './all-reduce.ts';
import type { Device } from './device-for.ts';
import { checkGroupRanks } from './group-ranks.ts';
import { onHost } from './on-host.ts';
import { ProcessGroup } from './process-group.ts';
import { checkDeadlines, type Deadlines } from './deadlines.ts';
import { takeUnwaited } from './work.ts';
import type { World } from './world.ts';

/** Names of a context's groups. */
export type GroupName = 'tp' | 'pp' | 'dp' | 'cp' | 'ep' | 'dpCp' | 'modelParallel' | 'embedding' | 'world';

/** What is particular about a group of one's own. */
export interface GroupOptions {
  /** What errors call it; `custom` by default. */
  readonly name?: string;
  /** Deadline of its operations in milliseconds; the context's by default. The first has the context's `joinTimeoutMs`, if longer. */
  readonly timeoutMs?: number;
  /** When to warn of one, in milliseconds; the context's by default. */
  readonly slowMs?: number;
}

/** What a context is made of. */
export interface ContextParts {
  /** Which rank this process is. */
  readonly launch: Launch;
  /** The mesh it stands on. */
  readonly mesh: Mesh;
  /** Its membership of the job. */
  readonly world: World;
  /** Deadlines of its groups. */
  readonly deadlines: Deadlines;
  /** Seed of all draws. */
  readonly seed: number;
  /** Where tensors live. */
  readonly device: Device;
  /** Ends the stay there. */
  readonly leaveDevice: () => void;
}

/**
 * One rank's view of a mesh: its groups, its place in them, and the extent of a step. Several may live in one process.
 * `initializeModelParallel` makes it; `await using` or `destroy` ends it.
 */
export class ParallelContext implements InitializationContext {
  /** Seed of all draws. */
  readonly seed: number;
  /** Where tensors live. */
  readonly device: Device;
  /** The mesh. */
  readonly mesh: Mesh;
  /** Tensor-parallel group. */
  readonly tp: ProcessGroup;
  /** Pipeline group: rank r of it is stage r. */
  readonly pp: ProcessGroup;
  /** Data-parallel group. */
  readonly dp: ProcessGroup;
  /** Context-parallel group. */
  readonly cp: ProcessGroup;
  /** Expert-parallel group. */
  readonly ep: ProcessGroup;
  /** Data- and context-parallel ranks together: those that sum gradients. */
  readonly dpCp: ProcessGroup;
  /** Ranks that together hold one model. */
  readonly modelParallel: ProcessGroup;
  /** First and last stage of this pipeline, which share a tied embedding; a group of one elsewhere. */
  readonly embedding: ProcessGroup;
  /** All ranks of the mesh. */
  readonly world: ProcessGroup;
  private readonly launch: Launch;
  private readonly membership: World;
  private readonly deadlines: Deadlines;
  /** Tells this context's groups from those of others over the same ranks, on every rank alike. */
  private readonly suffix: string;
  private readonly opened: ProcessGroup[] = [];
  private readonly neighbourhoods = new Map<number, ProcessGroup>();
  private readonly leaveDevice: () => void;
  private destroyed = false;
  private stopAgreed = false;

  /** Use `initializeModelParallel`. */
  constructor({ launch, mesh, world, deadlines, seed, device, leaveDevice }: ContextParts) {
    this.leaveDevice = leaveDevice;
    this.launch = launch;
    this.seed = seed;
    this.device = device;
    this.mesh = mesh;
    this.membership = world;
    this.deadlines = deadlines;
    const context = world.nextContext(mesh.ranks);
    this.suffix = context === 0 ? '' : `@${context}`;
    const of = (name: Exclude<GroupName, 'embedding'>) => this.open(name, mesh.groupOf(launch.rank, name), deadlines);
    this.tp = of('tp');
    this.pp = of('pp');
    this.dp = of('dp');
    this.cp = of('cp');
    this.ep = of('ep');
    this.dpCp = of('dpCp');
    this.modelParallel = of('modelParallel');
    this.world = of('world');
    this.embedding = this.open('embedding', mesh.embeddingGroupOf(launch.rank) ?? [launch.rank], deadlines);
  }

  private open(name: string, ranks: readonly number[], deadlines: Deadlines): ProcessGroup {
    const worldRank = this.launch.rank;
    const rank = ranks.indexOf(worldRank);
    const id = rank < 0 ? undefined : this.membership.openGroup(`${name}${this.suffix}`, ranks, deadlines);
    const group = new ProcessGroup({ name, ranks, rank, worldRank, id });
    this.opened.push(group);
    return group;
  }

  /**
   * A group of any ranks of the context, in any order: a rank's position is its number in the group, and sums run in that order. All its
   * members call this, in the same order where they open several of one name and ranks. On a rank that is not among them the group has
   * `rank` -1, and every operation on it throws NOT_A_MEMBER.
   * @throws ConfigError OUT_OF_RANGE, CONTRADICTION, INVALID_OPTION
   * @throws ProcessGroupError ABORTED after `destroy`
   */
  newGroup(ranks: readonly number[], options: GroupOptions = {}): ProcessGroup {
    const { name = 'custom', timeoutMs = this.deadlines.timeoutMs, slowMs = this.deadlines.slowMs } = options;
    if (this.destroyed) throw new ProcessGroupError('ABORTED', 'ctx.newGroup: the context was destroyed. Initialize a new one.');
    checkGroupRanks(name, ranks, this.mesh);
    const deadlines = { ...this.deadlines, timeoutMs, slowMs };
    checkDeadlines(`ctx.newGroup: group ${name}`, deadlines);
    return this.open(name, [...ranks], deadlines);
  }

  /**
   * The `count` consecutive tensor-parallel ranks around this one that hold the same rows of a weight of fewer heads than ranks. Opened
   * when they first ask, all of them alike.
   * @throws ConfigError INDIVISIBLE
   */
  neighbours(count: number): ProcessGroup {
    const { ranks, rank, size } = this.tp;
    if (size % count !== 0)
      throw new ConfigError(
        'INDIVISIBLE',
        `ctx.neighbours: ${size} tensor-parallel ranks do not fall into groups of ${count}. Use a divisor of ${size}.`,
      );
    const first = rank - (rank % count);
    const found = this.neighbourhoods.get(count) ?? this.newGroup(ranks.slice(first, first + count), { name: `tp by ${count}` });
    this.neighbourhoods.set(count, found);
    return found;
  }

  /**
   * What this rank posted so far, in this and its other contexts, as the flight recorder writes it when a world fails.
   * @throws ProcessGroupError ABORTED after `destroy`
   */
  flightRecord(): FlightRecord {
    if (this.destroyed) throw new ProcessGroupError('ABORTED', 'ctx.flightRecord: the context was destroyed. Ask before.');
    return this.membership.flightRecord();
  }

  /** A group by name. @throws ConfigError OUT_OF_RANGE */
  group(name: string): ProcessGroup {
    const found = Object.hasOwn(this, name) ? this[name as GroupName] : undefined;
    if (found instanceof ProcessGroup) return found;
    throw new ConfigError(
      'OUT_OF_RANGE',
      `ParallelContext.group: no group is called "${name}". Use tp, pp, dp, cp, ep, dpCp, modelParallel, embedding or world.`,
    );
  }

  /** This rank's place on an axis. */
  coordinates(axis: string): AxisPlace {
    return this.group(axis);
  }

  /** `rank 5 (tp 1, dp 0, pp 1)`, as errors begin. */
  get place(): string {
    const axes = (['tp', 'cp', 'dp', 'pp'] as const).filter((axis) => axis !== 'cp' || this.cp.size > 1);
    return `rank ${this.launch.rank} (${axes.map((axis) => `${axis} ${this[axis].rank}`).join(', ')})`;
  }

  /** Whether this rank holds the first stage. */
  get isFirstStage(): boolean {
    return this.pp.rank === 0;
  }

  /** Whether this rank holds the last stage. */
  get isLastStage(): boolean {
    return this.pp.rank === this.pp.size - 1;
  }

  /**
   * Whether SIGTERM or SIGINT has come: finish the step, save, and leave the loop. A second signal ends the process at once. In a world of
   * several ranks it turns true at the end of a step, on all of them after the same one, whichever got the signal.
   */
  get stopRequested(): boolean {
    return this.world.size === 1 ? engine.stopRequested() !== 0 : this.stopAgreed;
  }

  /**
   * One training step: a region of memory that nothing outlives but the result of `f`, with `n` known to errors, and `n` and the seed to
   * dropout. Every rank of the mesh calls it: at its end they agree whether to stop.
   * @throws ConfigError ASYNC_CALLBACK when `f` returns a promise; UNWAITED_WORK when a collective was started and never waited for
   */
  step<T>(n: number, f: () => Synchronous<T>): T {
    if (this.destroyed) throw new ProcessGroupError('ABORTED', 'ctx.step: the context was destroyed. Initialize a new one.');
    const { step, seed, microbatch } = ambient;
    Object.assign(ambient, { step: n, seed: this.seed, microbatch: this.dp.rank });
    try {
      const result = scope(f);
      const unwaited = takeUnwaited();
      if (unwaited.length > 0)
        throw new ConfigError(
          'UNWAITED_WORK',
          `ctx.step(${n}): ${unwaited.length} operation(s) were never waited for (${[...new Set(unwaited)].join(', ')}). Call wait() on what they return.`,
        );
      this.agreeToStop();
      return result;
    } catch (cause) {
      takeUnwaited();
      if (cause instanceof MegatronError && this.launch.worldSize > 1) cause.locate(this.place);
      throw cause;
    } finally {
      Object.assign(ambient, { step, seed, microbatch });
    }
  }

  /** Signals come to each rank at its own time; one that left its loop a step earlier than the others would leave them waiting. */
  private agreeToStop(): void {
    if (this.world.size === 1) return;
    onHost(() =>
      scope(() => {
        const asked = tensor(Int32Array.of(engine.stopRequested()));
        this.stopAgreed = allReduce(asked, { group: this.world, op: 'max', label: 'request to stop' }).wait().item() !== 0;
      }),
    );
  }

  /**
   * Leaves all groups; new tensors lie on the device of the context made last of those that live on, or else on the CPU. Models stay usable
   * on this rank alone, where they are.
   */
  async destroy(): Promise<void> {
    if (this.destroyed) return;
    this.destroyed = true;
    for (const group of this.opened) group.close();
    this.membership.release();
    this.leaveDevice();
  }

  /** The same as `destroy`, for `await using`. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.destroy();
  }
}
