/** From a file's text to a record, everything checked. */
import { ConfigError } from '@megatron-ts/errors';
import {
  type FlightRecord,
  isPointToPoint,
  operationKinds,
  operationStates,
  type RecordedFailure,
  type RecordedGroup,
  type RecordedMessage,
  type RecordedOperation,
  recordedDTypes,
  recordFormat,
  recordReasons,
  recordVersion,
  reduceOps,
} from './flight-record.ts';
import {
  type Fields,
  fieldFault,
  listField,
  nullable,
  objectAt,
  ranksField,
  textField,
  timeField,
  wholeField,
  wordField,
} from './record-fields.ts';

/** Shared by all collectives: a large world has millions. */
const noMessages: readonly RecordedMessage[] = Object.freeze([]);

/**
 * Reads the text of one record.
 * @param where - the file, for sentences
 * @throws ConfigError INVALID_RECORD when the text breaks off, is no record of a known version, or one of its fields is wrong
 */
export function parseFlightRecord(text: string, where: string): FlightRecord {
  const record = recordFields(text, where);
  const worldSize = wholeField(record, 'worldSize', { least: 1 });
  const rank = wholeField(record, 'rank', { below: worldSize });
  const groups = listField(record, 'groups', (value, name) => parseGroup(objectAt(record, name, value), worldSize));
  const sizes = new Map(groups.filter(({ ranks }) => ranks.includes(rank)).map(({ id, ranks }) => [id, ranks.length]));
  if (new Set(groups.map(({ id }) => id)).size < groups.length) throw fieldFault(record, 'groups', 'groups of distinct ids');
  const checkOrder = orderCheck();
  const operations = listField(record, 'operations', (value, name) => {
    const fields = objectAt(record, name, value);
    const operation = parseOperation(fields, sizes);
    checkOrder(operation, fields);
    return operation;
  });
  return {
    format: recordFormat,
    version: recordVersion,
    job: textField(record, 'job'),
    rank,
    worldSize,
    host: textField(record, 'host'),
    pid: wholeField(record, 'pid'),
    backend: textField(record, 'backend'),
    writtenMs: timeField(record, 'writtenMs'),
    reason: wordField(record, 'reason', recordReasons),
    failure: nullable(record, 'failure', () => parseFailure(objectAt(record, 'failure', record.values['failure']), worldSize)),
    dropped: wholeField(record, 'dropped'),
    groups,
    operations,
  };
}

/** The record's outermost fields, of a format and version that this library reads. */
function recordFields(text: string, where: string): Fields {
  const refusal = (sentence: string, cause?: unknown) => new ConfigError('INVALID_RECORD', sentence, { fields: { where }, cause });
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    if (breaksOff(text)) {
      const length = `after ${text.length} characters`;
      throw refusal(`${where}: the record breaks off ${length}. Its rank was ended while it wrote; use the other ranks' records.`, cause);
    }
    throw refusal(`${where}: this is not JSON (${(cause as Error).message}). Take a file as the recorder wrote it.`, cause);
  }
  if (typeof value !== 'object' || value === null || (value as Record<string, unknown>)['format'] !== recordFormat) {
    throw refusal(`${where}: this is JSON, but no flight record. Take a file as the recorder wrote it.`);
  }
  const record: Fields = { where, path: '', values: value as Record<string, unknown> };
  const version = wholeField(record, 'version');
  if (version !== recordVersion) {
    throw refusal(`${where}: the record is of version ${version}, and this library reads ${recordVersion}. Use the one that wrote it.`);
  }
  return record;
}

/** Whether the text ends inside a string, an object or a list, or before anything began. */
function breaksOff(text: string): boolean {
  let depth = 0;
  let inString = false;
  for (let at = 0; at < text.length; at++) {
    const letter = text[at];
    if (inString) {
      if (letter === '\\') at++;
      else if (letter === '"') inString = false;
    } else if (letter === '"') inString = true;
    else if (letter === '{' || letter === '[') depth++;
    else if (letter === '}' || letter === ']') depth--;
  }
  return inString || depth > 0 || text.trim() === '';
}

function parseFailure(fields: Fields, worldSize: number): RecordedFailure {
  return { code: textField(fields, 'code'), culprits: ranksField(fields, 'culprits', worldSize), message: textField(fields, 'message') };
}

function parseGroup(fields: Fields, worldSize: number): RecordedGroup {
  return {
    id: wholeField(fields, 'id'),
    name: textField(fields, 'name'),
    ranks: ranksField(fields, 'ranks', worldSize),
    instance: wholeField(fields, 'instance'),
  };
}

/** `sizes` has the size of each group that the rank is in, by id. */
function parseOperation(fields: Fields, sizes: ReadonlyMap<number, number>): RecordedOperation {
  const group = wholeField(fields, 'group');
  const below = sizes.get(group);
  if (below === undefined) throw fieldFault(fields, 'group', 'the id of a group that the rank is in');
  const kind = wordField(fields, 'kind', operationKinds);
  const posted = wholeField(fields, 'posted');
  return {
    group,
    sequence: wholeField(fields, 'sequence', { least: 1 }),
    kind,
    dtype: nullable(fields, 'dtype', () => wordField(fields, 'dtype', recordedDTypes)),
    count: wholeField(fields, 'count'),
    op: nullable(fields, 'op', () => wordField(fields, 'op', reduceOps)),
    root: nullable(fields, 'root', () => wholeField(fields, 'root', { below })),
    sends: parseMessages(fields, 'sends', { kind, below }),
    receives: parseMessages(fields, 'receives', { kind, below }),
    label: textField(fields, 'label'),
    state: wordField(fields, 'state', operationStates),
    posted,
    waited: nullable(fields, 'waited', () => wholeField(fields, 'waited', { least: posted })),
    postedMs: timeField(fields, 'postedMs'),
    startedMs: nullable(fields, 'startedMs', () => timeField(fields, 'startedMs')),
    endedMs: nullable(fields, 'endedMs', () => timeField(fields, 'endedMs')),
  };
}

/** Checks operations, one after the other: places grow, and nothing is left out of a group's sequence. */
function orderCheck(): (operation: RecordedOperation, fields: Fields) => void {
  let place = -1;
  const sequences = new Map<string, number>();
  return ({ group, kind, sequence, posted }, fields) => {
    if (posted <= place) throw fieldFault(fields, 'posted', `a place after ${place}, that of the operation before`);
    place = posted;
    const stream = `${group} ${isPointToPoint(kind)}`;
    const last = sequences.get(stream);
    if (last !== undefined && sequence !== last + 1) throw fieldFault(fields, 'sequence', `${last + 1} after ${last}`);
    sequences.set(stream, sequence);
  };
}

function parseMessages(
  fields: Fields,
  key: 'sends' | 'receives',
  { kind, below }: { kind: RecordedOperation['kind']; below: number },
): readonly RecordedMessage[] {
  if (isPointToPoint(kind)) return listField(fields, key, (value, name) => parseMessage(objectAt(fields, name, value), below));
  const value = fields.values[key];
  if (value === undefined || (Array.isArray(value) && value.length === 0)) return noMessages;
  throw fieldFault(fields, key, `no messages for ${kind}`);
}

function parseMessage(fields: Fields, below: number): RecordedMessage {
  return {
    peer: wholeField(fields, 'peer', { below }),
    dtype: wordField(fields, 'dtype', recordedDTypes),
    count: wholeField(fields, 'count'),
  };
}
