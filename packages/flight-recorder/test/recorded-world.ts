import type { FlightRecord, RecordedGroup, RecordedOperation } from '@megatron-ts/flight-recorder';

type Mutable<Value> = { -readonly [Key in keyof Value]: Value[Key] };

/** An operation that a test may still change. */
export type Entry = Mutable<RecordedOperation>;

/** A record that a test may still change. */
export interface Draft extends Mutable<Omit<FlightRecord, 'operations'>> {
  operations: Entry[];
}

/** What an operation is, besides its place. */
export type Call = Partial<Pick<Entry, 'kind' | 'dtype' | 'count' | 'op' | 'root' | 'sends' | 'receives' | 'label' | 'state'>>;

/** When the first operation of every test world was posted. */
export const startMs = 1_690_000_000_000;

/** Records of a whole world, written by hand: each operation takes 2 ms, and ranks post one every 10 ms. */
export class RecordedWorld {
  readonly drafts: Draft[];
  readonly #places = new Map<number, number>();
  readonly #sequences = new Map<string, number>();

  constructor(worldSize: number) {
    this.drafts = Array.from({ length: worldSize }, (_, rank) => ({
      format: 'megatron-ts flight recorder',
      version: 1,
      job: 'run-1',
      rank,
      worldSize,
      host: `n${rank >> 2}`,
      pid: 1000 + rank,
      backend: 'shm',
      writtenMs: startMs + 60_000,
      reason: 'failure',
      failure: null,
      dropped: 0,
      groups: [],
      operations: [],
    }));
  }

  draft(rank: number): Draft {
    return this.drafts[rank] as Draft;
  }

  /** Makes a group; each record numbers its groups for itself. */
  group(name: string, ranks: readonly number[], instance = 0): RecordedGroup {
    const made = { id: 0, name, ranks: [...ranks], instance };
    for (const rank of ranks) this.draft(rank).groups = [...this.draft(rank).groups, { ...made, id: this.draft(rank).groups.length }];
    return made;
  }

  /** One rank calls an operation and waits for it: a complete allReduce of 8 elements unless told otherwise. */
  call(rank: number, group: RecordedGroup, call: Call = {}): Entry {
    const entry = this.post(rank, group, call);
    this.wait(rank, entry);
    return entry;
  }

  /** All members, or some, call the same and wait. */
  all(group: RecordedGroup, call: Call = {}, ranks: readonly number[] = group.ranks): Entry[] {
    return ranks.map((rank) => this.call(rank, group, call));
  }

  /** One rank posts an operation and goes on. */
  post(rank: number, { ranks, name }: RecordedGroup, call: Call = {}): Entry {
    const { groups, operations } = this.draft(rank);
    const own = groups.find((group) => group.ranks === ranks);
    if (own === undefined) throw new Error(`rank ${rank} is not in group ${name}`);
    const { kind = 'allReduce', state = 'completed' } = call;
    const isPair = ['exchange', 'send', 'recv'].includes(kind);
    const plain = isPair || kind === 'barrier';
    const postedMs = startMs + 10 * operations.length;
    const entry: Entry = {
      group: own.id,
      sequence: this.#sequence(`${rank} ${own.id} ${isPair}`),
      kind,
      dtype: plain ? null : 'f32',
      count: plain ? 0 : 8,
      op: ['allReduce', 'reduce', 'reduceScatter'].includes(kind) ? 'sum' : null,
      root: ['broadcast', 'reduce', 'gather', 'scatter'].includes(kind) ? 0 : null,
      sends: [],
      receives: [],
      label: '',
      posted: this.#place(rank),
      waited: null,
      postedMs,
      startedMs: state === 'queued' ? null : postedMs,
      endedMs: state === 'completed' ? postedMs + 2 : null,
      ...call,
      state,
    };
    operations.push(entry);
    return entry;
  }

  /** The rank waits for what it posted. */
  wait(rank: number, entry: Entry): void {
    entry.waited = this.#place(rank);
  }

  /** Every rank was told of a failure. */
  fail(code: string, culprits: readonly number[], message: string): void {
    for (const draft of this.drafts) draft.failure = { code, culprits, message };
  }

  /** The records, without those of some ranks. */
  records({ without = [] }: { without?: readonly number[] } = {}): FlightRecord[] {
    return this.drafts.filter(({ rank }) => !without.includes(rank));
  }

  #place(rank: number): number {
    const place = this.#places.get(rank) ?? 0;
    this.#places.set(rank, place + 1);
    return place;
  }

  #sequence(stream: string): number {
    const sequence = (this.#sequences.get(stream) ?? 0) + 1;
    this.#sequences.set(stream, sequence);
    return sequence;
  }
}
