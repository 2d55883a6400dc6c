import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { expectProof } from './expect-proof.ts';
import { numbersAfter, type ProgramEnd, runAlone, runExample } from './run-example.ts';

const clean = { code: 0, stderr: '', orphans: [], sharedMemory: [] };

/** Losses that a program printed with five digits. */
function curveOf(end: ProgramEnd, steps: number): number[] {
  expect(end).toMatchObject(clean);
  const losses = numbersAfter('loss', end.lines);
  expect(losses).toHaveLength(steps);
  return losses;
}

/** Tensor parallelism adds products in another order: close, not bitwise. The printed digits may differ by one in the last place. */
function expectSamePrint(actual: readonly number[], expected: readonly number[]): void {
  expect(actual).toHaveLength(expected.length);
  actual.forEach((loss, n) => expect(Math.abs(loss - (expected[n] ?? NaN))).toBeLessThan(1.5e-5));
}

describe('01, a parallel MLP', () => {
  it('gives the same curve on 1, 2 and 4 ranks, and without a launcher', async () => {
    const one = curveOf(await runExample('01-parallel-mlp.ts', 1), 20);
    const two = curveOf(await runExample('01-parallel-mlp.ts', 2), 20);
    const four = curveOf(await runExample('01-parallel-mlp.ts', 4), 20);
    expectSamePrint(two, one);
    expect(four).toEqual(two); // the same tensor-parallel sums, and the mean of equal gradients: bitwise
    expect(one[19]).toBeLessThan((one[0] ?? 0) / 3);
    const alone = await runAlone('01-parallel-mlp.ts');
    expect(curveOf(alone, 20)).toEqual(one);
  });
});

describe('02, a layer of one’s own', () => {
  it('has the gradient of its central differences, and finds what is hidden in the data', async () => {
    const end = await runExample('02-own-layer.ts', 1);
    const losses = curveOf(end, 6);
    expect(numbersAfter('most', end.lines)[0]).toBeLessThan(1e-4);
    expect(losses[5]).toBeLessThan((losses[0] ?? 0) / 1000);
    expect(numbersAfter('scale', end.lines)[0]).toBeCloseTo(3, 1);
  });
});

describe('03, a GPT on a 3-D mesh', () => {
  it('gives the same curve on one rank and on data 2 x pipeline 2 x tensor 2', async () => {
    const one = await runExample('03-gpt-3d.ts', 1);
    const eight = await runExample('03-gpt-3d.ts', 8, { options: ['--tensor', '2', '--pipeline', '2'] });
    expectSamePrint(curveOf(eight, 10), curveOf(one, 10));
    const [norms, others] = [numbersAfter('norm', one.lines), numbersAfter('norm', eight.lines)];
    norms.forEach((norm, n) => expect((others[n] ?? NaN) / norm).toBeCloseTo(1, 4));
    expect(numbersAfter('loss', one.lines)[9]).toBeLessThan(4.5);
  });
});

describe('07, a Llama', () => {
  it('gives the same curve on one rank and on four that share two keys and values', async () => {
    const one = await runExample('07-llama.ts', 1);
    const options = ['--tensor', '4', '--sequence-parallel'];
    expect(one.lines).toContain('llama3-405b has 405,853,388,800 parameters');
    const losses = numbersAfter('loss', one.lines);
    expectSamePrint(numbersAfter('loss', (await runExample('07-llama.ts', 4, { options })).lines), losses);
    expect(losses).toHaveLength(10);
    expect(losses[9]).toBeLessThan(4);
  });
});

describe('04, a schedule of one’s own', () => {
  it('gives the bits of 1F1B, and is drawn beside it', async () => {
    const end = await runExample('04-own-schedule.ts', 2);
    expect(end).toMatchObject(clean);
    expect(end.lines.at(-1)).toMatch(/^loss 5\.\d{5}; both schedules give the same bits$/);
    expect(end.lines[0]).toBe('eager: 2 stages, 4 microbatches, makespan 15, bubble 20 %');
    expect(end.lines).toContain('rank 0 F0 F1 F2 .  B0--- F3 B1--- .  B2--- .  B3---');
  });

  it('says how many ranks it needs', async () => {
    const { code, stderr, orphans } = await runExample('04-own-schedule.ts', 3);
    expect({ code, orphans }).toEqual({ code: 1, orphans: [] });
    const last = stderr.trimEnd().split('\n').at(-1);
    expect(last).toMatch(/rank \d failed with exit code 1: ConfigError: initializeModelParallel: /);
    expect(last).toContain('tensor 1 x pipeline 2 = 2 does not divide the world size 3. Launch 2 or 4 ranks, or change a size.');
  });
});

describe('05, an offline proof', () => {
  it('proves a step of 128 ranks, and finds the rank that calls on another group', async () => {
    expectProof(await runAlone('05-offline-proof.ts', ['128']), 128);
  });
});

describe('06, ranks that disagree', () => {
  it('ends on all ranks by one sentence, with a table of who did what, and leaves the flight records', async () => {
    const records = mkdtempSync(join(tmpdir(), 'megatron-example-'));
    const env = { MEGATRON_RECORDER_DIR: records, MEGATRON_SLOW_MS: '500' };
    const end = await runExample('06-when-ranks-disagree.ts', 4, { env });
    expect(end).toMatchObject({ code: 1, orphans: [], sharedMemory: [] });
    expect(end.stderr).toMatch(
      /MISMATCH: .*rank 2 waits for rank 0 in barrier#\d+ \(before the checkpoint\) on group tp.*they wait for each other/,
    );
    expect(end.stderr).toMatch(/^(\[rank \d\] )?> 2 .* alive tp +barrier#\d+ \(before the checkpoint\)$/m);
    expect(readdirSync(records).sort()).toEqual([0, 1, 2, 3].map((rank) => `rank-${rank}.json`));
    rmSync(records, { recursive: true });
  });
});

describe('08, serving with ONNX Runtime', () => {
  it('trains on four ranks, writes one file, and continues the text from it', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'megatron-example-'));
    const end = await runExample('08-serve-with-onnx.ts', 4, { options: ['--model', join(folder, 'fox.onnx')] });
    expect(curveOf(end, 4)[3]).toBeLessThan(0.5);
    expect(end.lines.at(-1)).toBe('served: the quick brown fox jumps over t');
    expect(readdirSync(folder)).toEqual(['fox.onnx']);
    rmSync(folder, { recursive: true });
  });
});

describe('09, what a layer keeps for backward', () => {
  it('is what the list says, to the byte, on every layout', async () => {
    const end = await runExample('09-activation-memory.ts', 4);
    expect(end).toMatchObject(clean);
    const rows = end.lines.slice(2).map((line) => line.split('|').map((cell) => cell.trim()));
    expect(rows).toHaveLength(5 * 6);
    for (const [, , , , kept, listed] of rows) expect(kept).toBe(listed);
  });
});
