/** What all ranks of a world did, packed: operations, messages and places are numbers in typed arrays. */
import { type FlightRecord, isPointToPoint, type RecordedGroup, type RecordedMessage, type RecordedOperation } from './flight-record.ts';
import { IntList } from './int-list.ts';
import { groupKey } from './merge-records.ts';
import { type DescribedOperation, describeMessage, describeOperation, type OperationSignature } from './operation-text.ts';

/** A group, and what its members called on it. */
export interface PackedGroup {
  readonly name: string;
  readonly ranks: readonly number[];
  /** For each group rank its collectives, in the order of posting. */
  readonly collectives: IntList[];
}

/** Messages of one pair and direction, in the order of posting. */
export interface Channel {
  readonly group: PackedGroup;
  /** World ranks. */
  readonly from: number;
  readonly to: number;
  readonly sends: IntList;
  readonly receives: IntList;
}

/** A rank in one of its groups. */
interface Seat {
  readonly rank: number;
  /** Number of the group. */
  readonly group: number;
  /** Group rank. */
  readonly member: number;
}

/** Gives equal values the same number. */
class Numbering<Value> {
  readonly values: Value[] = [];
  readonly #numbers = new Map<string, number>();

  numberOf(key: string, make: () => Value): number {
    const known = this.#numbers.get(key);
    if (known !== undefined) return known;
    this.#numbers.set(key, this.values.length);
    return this.values.push(make()) - 1;
  }
}

/** All programs of a world. Operations and messages are numbered from 0, those of one rank in a row. */
export class WorldPrograms {
  readonly #groups = new Numbering<PackedGroup>();
  readonly #signatures = new Numbering<OperationSignature>();
  readonly #labels = new Numbering<string>();
  readonly #messageShapes = new Numbering<string>();
  readonly #channels = new Map<string, Channel>();
  /** By operation. */
  readonly rankOf = new IntList();
  readonly sequenceOf = new IntList();
  readonly #groupOf = new IntList();
  readonly #signatureOf = new IntList();
  readonly #labelOf = new IntList();
  /** First message of each operation; its last is the one before the next operation's first. */
  readonly #firstMessage = new IntList();
  /** By message: its operation, and its dtype and count as a number. */
  readonly operationOfMessage = new IntList();
  readonly shapeOfMessage = new IntList();
  /** By rank: its program. An event is twice the operation that is posted, or twice that plus 1 where it is waited for. */
  readonly events: Int32Array[];

  constructor(worldSize: number) {
    this.events = Array.from({ length: worldSize }, () => new Int32Array(0));
  }

  get numOperations(): number {
    return this.rankOf.length;
  }

  get numMessages(): number {
    return this.operationOfMessage.length;
  }

  /** All groups on which a rank with a record called something. */
  get groups(): readonly PackedGroup[] {
    return this.#groups.values;
  }

  /** All pairs and directions with messages. */
  get channels(): Iterable<Channel> {
    return this.#channels.values();
  }

  /** Adds a rank. Nothing of the record is held. */
  add(record: FlightRecord): void {
    const first = this.numOperations;
    const seats = new Map<number, Seat>();
    for (const operation of record.operations) {
      const seat = seats.get(operation.group) ?? this.#seatOf(record, operation.group);
      seats.set(operation.group, seat);
      this.#addOperation(seat, operation);
    }
    this.events[record.rank] = eventsOf(record.operations, first);
  }

  /** The group of an operation. */
  groupOf(operation: number): PackedGroup {
    return this.groups[this.#groupOf.at(operation)] as PackedGroup;
  }

  /** A number that two operations share when they are the same call. */
  signatureOf(operation: number): number {
    return this.#signatureOf.at(operation);
  }

  /** First message of an operation, and the one after its last. */
  messagesOf(operation: number): [first: number, end: number] {
    const end = operation + 1 < this.numOperations ? this.#firstMessage.at(operation + 1) : this.numMessages;
    return [this.#firstMessage.at(operation), end];
  }

  /** Whether the operation moves messages between pairs. */
  isPointToPoint(operation: number): boolean {
    return isPointToPoint((this.#signatures.values[this.signatureOf(operation)] as OperationSignature).kind);
  }

  /** `f32[1024]` */
  describeMessage(message: number): string {
    return this.#messageShapes.values[this.shapeOfMessage.at(message)] as string;
  }

  /** `allReduce#43 f32[1024] sum (layers.1.mlp.down)` */
  describe(operation: number): string {
    const signature = this.#signatures.values[this.signatureOf(operation)] as OperationSignature;
    const label = this.#labels.values[this.#labelOf.at(operation)] as string;
    const described: DescribedOperation = { ...signature, label, sequence: this.sequenceOf.at(operation) };
    return describeOperation(described, { namesSum: true });
  }

  #seatOf({ rank, groups }: FlightRecord, id: number): Seat {
    const { name, ranks, instance } = groups.find((group) => group.id === id) as RecordedGroup;
    const make = () => ({ name, ranks, collectives: ranks.map(() => new IntList()) });
    return { rank, group: this.#groups.numberOf(groupKey({ name, ranks, instance }), make), member: ranks.indexOf(rank) };
  }

  #addOperation({ rank, group, member }: Seat, operation: RecordedOperation): void {
    const { kind, dtype, count, op, root, label, sends, receives, sequence } = operation;
    const number = this.rankOf.push(rank);
    this.sequenceOf.push(sequence);
    this.#groupOf.push(group);
    const signature = `${kind} ${dtype} ${count} ${op} ${root}`;
    this.#signatureOf.push(this.#signatures.numberOf(signature, () => ({ kind, dtype, count, op, root })));
    this.#labelOf.push(this.#labels.numberOf(label, () => label));
    this.#firstMessage.push(this.numMessages);
    if (!isPointToPoint(kind)) this.groups[group]?.collectives[member]?.push(number);
    for (const message of sends) this.#channelOf(group, member, message.peer).sends.push(this.#addMessage(number, message));
    for (const message of receives) this.#channelOf(group, message.peer, member).receives.push(this.#addMessage(number, message));
  }

  #addMessage(operation: number, message: RecordedMessage): number {
    const shape = describeMessage(message);
    this.operationOfMessage.push(operation);
    return this.shapeOfMessage.push(this.#messageShapes.numberOf(shape, () => shape));
  }

  #channelOf(groupNumber: number, from: number, to: number): Channel {
    const key = `${groupNumber} ${from} ${to}`;
    const known = this.#channels.get(key);
    if (known !== undefined) return known;
    const group = this.groups[groupNumber] as PackedGroup;
    const [fromRank, toRank] = [group.ranks[from] as number, group.ranks[to] as number];
    const made = { group, from: fromRank, to: toRank, sends: new IntList(), receives: new IntList() };
    this.#channels.set(key, made);
    return made;
  }
}

/** Posts and waits in the order of their places; where both have the same place, the post is first. */
function eventsOf(operations: readonly RecordedOperation[], first: number): Int32Array {
  const keys = new Float64Array(operations.length + operations.filter(({ waited }) => waited !== null).length);
  let at = 0;
  for (const [index, { posted, waited }] of operations.entries()) {
    keys[at++] = 2 * posted * operations.length + index;
    if (waited !== null) keys[at++] = (2 * waited + 1) * operations.length + index;
  }
  keys.sort();
  return Int32Array.from(keys, (key) => 2 * (first + (key % operations.length)) + (Math.floor(key / operations.length) % 2));
}
