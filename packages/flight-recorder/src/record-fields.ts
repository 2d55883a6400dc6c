/** Reading the fields of a record, each with its place for the sentence when it is wrong. */
import { ConfigError } from '@megatron-ts/errors';

/** An object of a record, and where it stands. */
export interface Fields {
  /** The file, or what else the text came from. */
  readonly where: string;
  /** Place of the object in the record, ending in a dot; empty for the record itself. */
  readonly path: string;
  readonly values: Readonly<Record<string, unknown>>;
}

/** A refusal of one field. */
export function fieldFault({ where, path, values }: Fields, key: string, expected: string): ConfigError {
  const name = `${path}${key}`;
  const found = values[key] === undefined ? 'missing' : shown(values[key]);
  const sentence = `${where}: ${name} is ${found} where a flight record has ${expected}. Take a file as the recorder wrote it.`;
  return new ConfigError('INVALID_RECORD', sentence, { fields: { where, field: name } });
}

function shown(value: unknown): string {
  const text = JSON.stringify(value);
  return text.length > 60 ? `${text.slice(0, 60)}…` : text;
}

/** The object `value` with its place, which is `key` of `outer`. */
export function objectAt(outer: Fields, key: string, value: unknown): Fields {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw fieldFault({ ...outer, values: { [key]: value } }, key, 'an object');
  }
  return { where: outer.where, path: `${outer.path}${key}.`, values: value as Record<string, unknown> };
}

/** A list, each element read by `read`. */
export function listField<Element>(fields: Fields, key: string, read: (value: unknown, name: string) => Element): Element[] {
  const value = fields.values[key];
  if (!Array.isArray(value)) throw fieldFault(fields, key, 'a list');
  return value.map((element, index) => read(element, `${key}[${index}]`));
}

/** A text. */
export function textField(fields: Fields, key: string): string {
  const value = fields.values[key];
  if (typeof value !== 'string') throw fieldFault(fields, key, 'a text');
  return value;
}

/** A whole number from `least`, and below `below` if that is given. */
export function wholeField(fields: Fields, key: string, { least = 0, below = Infinity } = {}): number {
  const value = fields.values[key];
  if (Number.isSafeInteger(value) && (value as number) >= least && (value as number) < below) return value as number;
  throw fieldFault(fields, key, below === Infinity ? `a whole number from ${least}` : `a whole number from ${least} to ${below - 1}`);
}

/** A point in time, in milliseconds. */
export function timeField(fields: Fields, key: string): number {
  const value = fields.values[key];
  if (typeof value !== 'number' || !Number.isFinite(value)) throw fieldFault(fields, key, 'a time in milliseconds');
  return value;
}

/** One of some words. */
export function wordField<Word extends string>(fields: Fields, key: string, words: readonly Word[]): Word {
  const value = fields.values[key] as Word;
  if (!words.includes(value)) throw fieldFault(fields, key, `one of ${words.join(', ')}`);
  return value;
}

/** A list of distinct world ranks. */
export function ranksField(fields: Fields, key: string, worldSize: number): number[] {
  const ranks = listField(fields, key, (rank) => rank as number);
  const isRank = (rank: number) => Number.isSafeInteger(rank) && rank >= 0 && rank < worldSize;
  if (!ranks.every(isRank) || new Set(ranks).size < ranks.length)
    throw fieldFault(fields, key, `distinct ranks of a world of ${worldSize}`);
  return ranks;
}

/** What `read` makes of a field, or null where the field is null. */
export function nullable<Value>(fields: Fields, key: string, read: () => Value): Value | null {
  return fields.values[key] === null ? null : read();
}
