import { ConfigError } from '@megatron-ts/errors';
import { parseFlightRecord } from '@megatron-ts/flight-recorder';
import { describe, expect, it } from 'vitest';
import { RecordedWorld } from './recorded-world.ts';

function sample() {
  const world = new RecordedWorld(4);
  const [tp, pp] = [world.group('tp', [2, 1]), world.group('pp', [0, 2])];
  world.call(2, tp, { label: 'layers.1 "mlp" {[' });
  world.call(2, pp, { kind: 'send', dtype: 'f32', count: 3, sends: [{ peer: 0, dtype: 'f32', count: 3 }] });
  world.post(2, tp, { kind: 'broadcast', root: 1, state: 'started' });
  world.post(2, tp, { kind: 'barrier', state: 'queued' });
  world.fail('TIMEOUT', [1], 'rank 1 never joined.');
  return world.draft(2);
}

type Json = Record<string, unknown>;

/** The sample with one field changed, as text. */
function textWith(change: (record: Json, operations: Json[], groups: Json[]) => void): string {
  const record = JSON.parse(JSON.stringify(sample())) as Json;
  change(record, record['operations'] as Json[], record['groups'] as Json[]);
  return JSON.stringify(record);
}

function refusal(text: string): string {
  try {
    parseFlightRecord(text, 'rank-2.json');
  } catch (error) {
    expect(error).toBeInstanceOf(ConfigError);
    expect((error as ConfigError).code).toBe('INVALID_RECORD');
    return (error as Error).message;
  }
  throw new Error('the text was taken');
}

describe('parseFlightRecord', () => {
  it('reads what the recorder writes, and takes collectives without lists of messages', () => {
    const record = sample();
    expect(parseFlightRecord(JSON.stringify(record), 'rank-2.json')).toEqual(record);
    const bare = textWith((_, operations) => {
      delete operations[0]?.['sends'];
      delete operations[0]?.['receives'];
    });
    expect(parseFlightRecord(bare, 'rank-2.json')).toEqual(record);
  });

  it('says of a text cut off anywhere that the record breaks off', () => {
    const text = JSON.stringify(sample());
    for (let length = 0; length < text.length; length++) {
      expect(refusal(text.slice(0, length))).toBe(
        `rank-2.json: the record breaks off after ${length} characters. Its rank was ended while it wrote; use the other ranks' records.`,
      );
    }
  });

  it.each([
    ['not JSON', '{"a": }', 'rank-2.json: this is not JSON ('],
    ['another list', '[]', 'rank-2.json: this is JSON, but no flight record. Take a file as the recorder wrote it.'],
    ['null', 'null', 'rank-2.json: this is JSON, but no flight record.'],
    ['another format', textWith((record) => (record['format'] = 'trace')), 'rank-2.json: this is JSON, but no flight record.'],
    [
      'a version to come',
      textWith((record) => (record['version'] = 2)),
      'rank-2.json: the record is of version 2, and this library reads 1. Use the one that wrote it.',
    ],
  ])('refuses %s', (_, text, sentence) => {
    expect(refusal(text)).toContain(sentence);
  });

  const wrong = (name: string, found: string, expected: string) =>
    `rank-2.json: ${name} is ${found} where a flight record has ${expected}. Take a file as the recorder wrote it.`;

  it.each<[string, Parameters<typeof textWith>[0], string]>([
    ['rank', (record) => (record['rank'] = 4), wrong('rank', '4', 'a whole number from 0 to 3')],
    ['worldSize', (record) => (record['worldSize'] = 0), wrong('worldSize', '0', 'a whole number from 1')],
    ['job', (record) => delete record['job'], wrong('job', 'missing', 'a text')],
    ['writtenMs', (record) => (record['writtenMs'] = '1'), wrong('writtenMs', '"1"', 'a time in milliseconds')],
    ['reason', (record) => (record['reason'] = 'whim'), wrong('reason', '"whim"', 'one of failure, slow, request')],
    ['dropped', (record) => (record['dropped'] = -1), wrong('dropped', '-1', 'a whole number from 0')],
    ['failure', (record) => (record['failure'] = 'late'), wrong('failure', '"late"', 'an object')],
    [
      'culprits',
      (record) => ((record['failure'] as Json)['culprits'] = [7]),
      wrong('failure.culprits', '[7]', 'distinct ranks of a world of 4'),
    ],
    ['groups', (record) => (record['groups'] = {}), wrong('groups', '{}', 'a list')],
    [
      'ranks',
      (_, __, groups) => ((groups[0] as Json)['ranks'] = [2, 2]),
      wrong('groups[0].ranks', '[2,2]', 'distinct ranks of a world of 4'),
    ],
    [
      'kind',
      (_, [first]) => ((first as Json)['kind'] = 'fly'),
      'rank-2.json: operations[0].kind is "fly" where a flight record has one of allReduce,',
    ],
    ['group', (_, [first]) => ((first as Json)['group'] = 9), wrong('operations[0].group', '9', 'the id of a group that the rank is in')],
    ['dtype', (_, [first]) => ((first as Json)['dtype'] = 'int4'), 'operations[0].dtype is "int4" where a flight record has one of f32,'],
    ['root', (_, operations) => ((operations[2] as Json)['root'] = 2), wrong('operations[2].root', '2', 'a whole number from 0 to 1')],
    ['waited', (_, operations) => ((operations[1] as Json)['waited'] = 1), wrong('operations[1].waited', '1', 'a whole number from 2')],
    [
      'posted',
      (_, operations) => ((operations[2] as Json)['posted'] = 0),
      wrong('operations[2].posted', '0', 'a place after 2, that of the operation before'),
    ],
    ['sequence', (_, operations) => ((operations[2] as Json)['sequence'] = 5), wrong('operations[2].sequence', '5', '2 after 1')],
    [
      'peer',
      (_, operations) => ((operations[1]?.['sends'] as Json[])[0] = { peer: 2, dtype: 'f32', count: 1 }),
      wrong('operations[1].sends[0].peer', '2', 'a whole number from 0 to 1'),
    ],
    [
      'messages of a collective',
      (_, operations) => ((operations[0] as Json)['sends'] = [{ peer: 0, dtype: 'f32', count: 1 }]),
      wrong('operations[0].sends', '[{"peer":0,"dtype":"f32","count":1}]', 'no messages for allReduce'),
    ],
    ['an operation', (_, operations) => (operations[0] = null as unknown as Json), wrong('operations[0]', 'null', 'an object')],
  ])('refuses a wrong %s by its place', (_, change, sentence) => {
    expect(refusal(textWith(change))).toContain(sentence);
  });
});
