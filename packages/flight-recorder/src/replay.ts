/** Runs all programs of a world against each other, without buffers anywhere, and tells who waits for whom when nobody can go on. */
import type { IntList } from './int-list.ts';
import type { WorldPrograms } from './world-programs.ts';

/** A rank that stands at a wait. */
interface StuckRank {
  readonly operation: number;
  /** World rank that has not posted its part. */
  readonly peer: number;
}

/**
 * The circle in which ranks wait, in words; undefined when all programs end. A collective is complete when all members have posted it,
 * a point-to-point operation when the other end of each of its messages is posted. All calls and messages must match.
 */
export function circleProblem(programs: WorldPrograms): string | undefined {
  const replay = new Replay(programs);
  replay.run();
  const stuck = replay.stuckRanks();
  const [start] = stuck.keys();
  if (start === undefined) return undefined;
  const path: number[] = [];
  let rank = start;
  for (let at = stuck.get(rank); at !== undefined && !path.includes(rank); at = stuck.get(rank)) {
    path.push(rank);
    rank = at.peer;
  }
  const circle = path.slice(path.indexOf(rank));
  const links = circle.map((rank, at) => {
    const { operation, peer } = stuck.get(rank) as StuckRank;
    const wait = `waits in ${programs.describe(operation)} on group ${programs.groupOf(operation).name} for rank ${peer}`;
    return at === 0 ? `rank ${rank} ${wait}` : `which ${wait}`;
  });
  return `deadlock: ${links.join(', ')}. Make these ranks call their operations in one order.`;
}

/** State of the run. What completes at once is a meeting: one collective of a group, or one rank's point-to-point operation. */
class Replay {
  readonly #programs: WorldPrograms;
  /** By operation: its meeting. */
  readonly #meetingOf: Int32Array;
  /** By meeting: posts that are still to come. */
  readonly #open: Int32Array;
  /** By meeting: the first rank that waits, and by rank the next one; -1 ends the list. */
  readonly #firstWaiter: Int32Array;
  readonly #nextWaiter: Int32Array;
  /** By message: its other end. */
  readonly #otherEnd: Int32Array;
  readonly #isPosted: Uint8Array;
  /** By rank: its next event. */
  readonly #next: Int32Array;
  readonly #runnable: number[];

  constructor(programs: WorldPrograms) {
    this.#programs = programs;
    const { numOperations, events } = programs;
    this.#meetingOf = new Int32Array(numOperations).fill(-1);
    this.#otherEnd = new Int32Array(programs.numMessages);
    this.#isPosted = new Uint8Array(numOperations);
    this.#next = new Int32Array(events.length);
    this.#nextWaiter = new Int32Array(events.length);
    this.#runnable = Array.from(events.keys()).reverse();
    for (const { sends, receives } of programs.channels) {
      for (let at = 0; at < sends.length; at++) {
        this.#otherEnd[sends.at(at)] = receives.at(at);
        this.#otherEnd[receives.at(at)] = sends.at(at);
      }
    }
    const open = this.#meet();
    this.#open = Int32Array.from(open);
    this.#firstWaiter = new Int32Array(open.length).fill(-1);
  }

  /** Gives every operation its meeting; returns for each how many posts complete it. */
  #meet(): number[] {
    const open: number[] = [];
    for (const { ranks, collectives } of this.#programs.groups) {
      const length = collectives[0]?.length ?? 0;
      for (let at = 0; at < length; at++) {
        for (const operations of collectives) this.#meetingOf[operations.at(at)] = open.length;
        open.push(ranks.length);
      }
    }
    for (let operation = 0; operation < this.#meetingOf.length; operation++) {
      if (this.#meetingOf[operation] !== -1) continue;
      const [first, end] = this.#programs.messagesOf(operation);
      this.#meetingOf[operation] = open.length;
      open.push(end - first);
    }
    return open;
  }

  /** Runs until every rank is at its end or waits. */
  run(): void {
    for (let rank = this.#runnable.pop(); rank !== undefined; rank = this.#runnable.pop()) this.#advance(rank);
  }

  #advance(rank: number): void {
    const events = this.#programs.events[rank] as Int32Array;
    for (let at = this.#next[rank] as number; at < events.length; at++) {
      const event = events[at] as number;
      const operation = event >> 1;
      const meeting = this.#meetingOf[operation] as number;
      if (event % 2 === 0) this.#post(operation, meeting);
      else if ((this.#open[meeting] as number) > 0) {
        this.#next[rank] = at;
        this.#nextWaiter[rank] = this.#firstWaiter[meeting] as number;
        this.#firstWaiter[meeting] = rank;
        return;
      }
    }
    this.#next[rank] = events.length;
  }

  #post(operation: number, meeting: number): void {
    this.#isPosted[operation] = 1;
    if (!this.#programs.isPointToPoint(operation)) return this.#arrive(meeting);
    const [first, end] = this.#programs.messagesOf(operation);
    for (let message = first; message < end; message++) {
      const other = this.#programs.operationOfMessage.at(this.#otherEnd[message] as number);
      if (this.#isPosted[other] === 0) continue;
      this.#arrive(meeting);
      // Both ends of a message to oneself may be in one operation.
      if (other !== operation) this.#arrive(this.#meetingOf[other] as number);
    }
  }

  #arrive(meeting: number): void {
    const left = (this.#open[meeting] as number) - 1;
    this.#open[meeting] = left;
    if (left > 0) return;
    for (let rank = this.#firstWaiter[meeting] as number; rank !== -1; rank = this.#nextWaiter[rank] as number) this.#runnable.push(rank);
    this.#firstWaiter[meeting] = -1;
  }

  /** The ranks that wait, each with one rank it waits for. */
  stuckRanks(): Map<number, StuckRank> {
    const stuck = new Map<number, StuckRank>();
    for (const [rank, events] of this.#programs.events.entries()) {
      const event = events[this.#next[rank] as number];
      if (event !== undefined) stuck.set(rank, { operation: event >> 1, peer: this.#absentee(event >> 1) });
    }
    return stuck;
  }

  /** A rank that has not posted its part of an incomplete operation. */
  #absentee(operation: number): number {
    const programs = this.#programs;
    const other = programs.isPointToPoint(operation) ? this.#absentEnd(operation) : this.#absentCall(operation);
    return programs.rankOf.at(other);
  }

  #absentEnd(operation: number): number {
    const [first, end] = this.#programs.messagesOf(operation);
    const others = Array.from(this.#otherEnd.subarray(first, end), (message) => this.#programs.operationOfMessage.at(message));
    return others.find((other) => this.#isPosted[other] === 0) as number;
  }

  #absentCall(operation: number): number {
    const { ranks, collectives } = this.#programs.groupOf(operation);
    const own = collectives[ranks.indexOf(this.#programs.rankOf.at(operation))] as IntList;
    let at = 0;
    while (own.at(at) !== operation) at++;
    return collectives.map((operations) => operations.at(at)).find((other) => this.#isPosted[other] === 0) as number;
  }
}
