// Stamps: small files that say from which contents something was made.
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';

/** One hash over the names and contents of `paths`; those that do not exist count by their absence. */
export function hashOf(paths) {
  const hash = createHash('sha256');
  for (const path of paths.filter((path) => existsSync(path))) hash.update(path).update('\0').update(readFileSync(path)).update('\0');
  return hash.digest('hex');
}

/** The stamp's text; empty when there is none. */
export function readStamp(path) {
  return existsSync(path) ? readFileSync(path, 'utf8') : '';
}

/** Writes beside and renames: a reader never sees half a stamp. */
export function writeStamp(path, text) {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(`${path}.${process.pid}`, text);
  renameSync(`${path}.${process.pid}`, path);
}
