import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { RecordedWorld } from '../../flight-recorder/test/recorded-world.ts';
import { start } from './command-line.ts';

const top = mkdtempSync(join(tmpdir(), 'megatron-diagnose-'));
afterAll(() => rmSync(top, { recursive: true }));

/** A folder with the records of these ranks' drafts. */
function folderOf(name: string, world: RecordedWorld, { without = [] }: { without?: readonly number[] } = {}): string {
  const folder = join(top, name);
  mkdirSync(folder);
  for (const record of world.records({ without })) writeFileSync(join(folder, `rank-${record.rank}.json`), JSON.stringify(record));
  writeFileSync(join(folder, 'rank-0.log'), 'not a record');
  return folder;
}

/** Ranks that completed one operation together, of which the last has not joined the second. */
function lateWorld(size: number): RecordedWorld {
  const world = new RecordedWorld(size);
  const ranks = world.drafts.map(({ rank }) => rank);
  const dp = world.group('dp', ranks);
  world.all(dp, { label: 'layers.1.mlp.down' });
  world.all(dp, { state: 'failed', label: 'layers.2' }, ranks.slice(0, -1));
  return world;
}

describe('megatron-ts diagnose', () => {
  it('prints one sentence, a table with the outlier first, and what the ranks were told; the status is 1', async () => {
    const world = lateWorld(5);
    world.fail('TIMEOUT', [4], 'rank 0 waited 1000 ms.');
    const { code, stdout, stderr } = await start(['diagnose', folderOf('late', world)]).ended;
    expect({ code, stderr }).toEqual({ code: 1, stderr: '' });
    expect(stdout.split('\n')).toEqual([
      'rank 4 has not joined allReduce#2 f32[8] (layers.2) on group dp (ranks 0-4), in which ranks 0-3 wait: it is in no operation; '
        + 'the last it completed is allReduce#1 f32[8] (layers.1.mlp.down) on group dp. Find what keeps rank 4.',
      '',
      '  rank  host  group  last completed                          in hand                        state   age',
      '>    4  n1    dp     allReduce#1 f32[8] (layers.1.mlp.down)  -                              idle    60.0 s',
      ...[0, 1, 2, 3].map(
        (rank) => `     ${rank}  n0    dp     allReduce#1 f32[8] (layers.1.mlp.down)  allReduce#2 f32[8] (layers.2)  failed  60.0 s`,
      ),
      '',
      'Rank 0 was told (TIMEOUT): rank 0 waited 1000 ms.',
      '',
    ]);
  });

  it('shows at most 32 ranks, outliers among them, and how many it leaves out', async () => {
    const { code, stdout } = await start(['diagnose', folderOf('large', lateWorld(40), { without: [39] })]).ended;
    const rows = stdout.split('\n').slice(3, 36);
    expect(code).toBe(1);
    expect(rows[0]).toMatch(/^> +39 +- +- +- +- +no record +-$/);
    expect(rows[31]).toMatch(/^ +30 /);
    expect(rows[32]).toBe('  8 more ranks are not shown.');
  });

  it('ends with status 0 when nothing is wrong', async () => {
    const world = new RecordedWorld(2);
    world.all(world.group('dp', [0, 1]));
    const { code, stdout, stderr } = await start(['diagnose', folderOf('fine', world)]).ended;
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(stdout).toContain('all 2 operations that ranks 0, 1 recorded are complete: nothing is wrong.');
  });

  it('names broken files, and diagnoses from the others', async () => {
    const late = folderOf('late-and-broken', lateWorld(4));
    writeFileSync(join(late, 'rank-3.json'), '{"format":');
    const ended = await start(['diagnose', late]).ended;
    expect(ended.code).toBe(1);
    expect(ended.stderr).toContain(`${join(late, 'rank-3.json')}: the record breaks off after 10 characters.`);
    expect(ended.stdout).toContain('rank 3 left no complete record');

    const world = new RecordedWorld(2);
    world.all(world.group('dp', [0, 1]));
    const fine = folderOf('fine-and-broken', world);
    writeFileSync(join(fine, 'rank-1.json'), '[]');
    mkdirSync(join(fine, 'rank-2.json'));
    const { code, stdout, stderr } = await start(['diagnose', fine]).ended;
    expect(code).toBe(2);
    expect(stderr.trimEnd().split('\n')).toEqual([
      `megatron-ts diagnose: ${join(fine, 'rank-1.json')}: this is JSON, but no flight record. Take a file as the recorder wrote it.`,
      expect.stringContaining(`megatron-ts diagnose: ${join(fine, 'rank-2.json')}: cannot be read (EISDIR`),
    ]);
    expect(stdout).toContain('There is no record of rank 1.');
  });

  it.each([
    ['no folder', [], 'no folder is named. Name the one with the flight records, as in megatron-ts diagnose /tmp/megatron-run-1.'],
    ['two folders', ['a', 'b'], '2 folders are named. Name one.'],
    ['an unknown option', ['--fast'], "Unknown option '--fast'. See megatron-ts diagnose --help."],
    ['a folder that is not there', [join(top, 'nowhere')], `${join(top, 'nowhere')} is no folder that can be read. Name the one with`],
    ['a folder without records', [top], `there are no flight records in ${top}. Name a folder with files rank-<n>.json, one per rank.`],
  ])('refuses %s with a sentence and status 2', async (_, args, sentence) => {
    const { code, stdout, stderr } = await start(['diagnose', ...args]).ended;
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
    expect(stderr).toContain(`megatron-ts diagnose: ${sentence}`);
  });

  it('refuses the records of two runs', async () => {
    const world = lateWorld(2);
    world.draft(1).job = 'run-2';
    expect(await start(['diagnose', folderOf('two-runs', world)]).ended).toMatchObject({
      code: 2,
      stderr: 'flight records: rank 0 recorded job run-1 and rank 1 job run-2. Keep the records of one run.\n',
    });
  });

  it('tells how to use it', async () => {
    const { code, stdout } = await start(['diagnose', '--help']).ended;
    expect(code).toBe(0);
    expect(stdout).toContain('Usage: megatron-ts diagnose <folder>');
  });
});
