import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { ConfigError, MegatronError } from '@megatron-ts/errors';
import { findOutlier, type FlightRecord, mergeRecords, parseFlightRecord } from '@megatron-ts/flight-recorder';
import { diagnosisTable } from './diagnosis-table.ts';

/** Text of `megatron-ts diagnose --help`. */
export const diagnoseHelp = `Usage: megatron-ts diagnose <folder>

Reads the flight records (rank-<n>.json) that the ranks of a failed run left in a folder, and names the rank that is out of line.

  --help                this text

Exit status: 0 when nothing is wrong, 1 when a rank is named, 2 when records are missing or broken and the others show nothing.
`;

/** `diagnose …`: one sentence, a table with a row per rank, and remarks; the exit status tells whether a rank is out of line. */
export async function diagnose(args: readonly string[]): Promise<number> {
  const { values, positionals } = parseCommandLine(args);
  if (values.help === true) {
    process.stdout.write(diagnoseHelp);
    return 0;
  }
  const { records, faults } = await readRecords(onlyFolder(positionals));
  for (const fault of faults) process.stderr.write(`megatron-ts diagnose: ${fault}\n`);
  if (records.length === 0) return 2;
  const { verdict, sentence, rows, remarks } = findOutlier(mergeRecords(records));
  process.stdout.write(`${sentence}\n\n${diagnosisTable(rows)}\n`);
  if (remarks.length > 0) process.stdout.write(`\n${remarks.join('\n')}\n`);
  if (verdict !== 'clear') return 1;
  return faults.length === 0 ? 0 : 2;
}

function onlyFolder([path, ...more]: readonly string[]): string {
  if (path === undefined) {
    throw new ConfigError(
      'MISSING_OPTION',
      'megatron-ts diagnose: no folder is named. Name the one with the flight records, as in megatron-ts diagnose /tmp/megatron-run-1.',
    );
  }
  if (more.length > 0) {
    throw new ConfigError('INVALID_OPTION', `megatron-ts diagnose: ${more.length + 1} folders are named. Name one.`);
  }
  return path;
}

function parseCommandLine(args: readonly string[]) {
  try {
    return parseArgs({ args: [...args], options: { help: { type: 'boolean', short: 'h' } }, allowPositionals: true });
  } catch (cause) {
    const [sentence = ''] = (cause as Error).message.split('. ');
    throw new ConfigError('UNKNOWN_OPTION', `megatron-ts diagnose: ${sentence}. See megatron-ts diagnose --help.`, { cause });
  }
}

/** All records of a folder that can be read, and a sentence for each that cannot. */
async function readRecords(path: string): Promise<{ records: FlightRecord[]; faults: string[] }> {
  const names = (await namesIn(path)).filter((name) => /^rank-\d+\.json$/.test(name));
  if (names.length === 0) {
    throw new ConfigError(
      'NO_SUCH_FILE',
      `megatron-ts diagnose: there are no flight records in ${path}. Name a folder with files rank-<n>.json, one per rank.`,
    );
  }
  const records: FlightRecord[] = [];
  const faults: string[] = [];
  for (const name of names.sort((a, b) => a.localeCompare(b, 'en', { numeric: true }))) {
    const file = join(path, name);
    try {
      records.push(parseFlightRecord(await readFile(file, 'utf8'), file));
    } catch (error) {
      if (error instanceof MegatronError) faults.push(error.message);
      else faults.push(`${file}: cannot be read (${(error as Error).message}). Make it readable.`);
    }
  }
  return { records, faults };
}

async function namesIn(path: string): Promise<string[]> {
  try {
    return await readdir(path);
  } catch (cause) {
    const sentence = `megatron-ts diagnose: ${path} is no folder that can be read. Name the one with the flight records.`;
    throw new ConfigError('NO_SUCH_FILE', sentence, { cause });
  }
}
