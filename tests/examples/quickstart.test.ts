import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type ProgramEnd, runExample } from './run-example.ts';

const numSteps = 30;
let folder: string;
let end: ProgramEnd;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'megatron-quickstart-'));
  end = await runExample('00-quickstart.ts', 8, { cwd: folder, env: { QUICKSTART_STEPS: String(numSteps) } });
});
afterAll(() => rmSync(folder, { recursive: true }));

describe('the quickstart on 8 ranks', () => {
  it('ends well, with no process left and nothing in shared memory', () => {
    expect(end).toMatchObject({ code: 0, stderr: '', orphans: [], sharedMemory: [] });
  });

  it('writes a header and one object per step, and the loss falls', () => {
    const [first, ...steps] = readFileSync(join(folder, 'runs', 'quickstart', 'metrics.jsonl'), 'utf8')
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as Record<string, unknown>);
    expect(first?.['header']).toMatchObject({ seed: 1234, layout: { data: 2, pipeline: 2, tensor: 2 }, config: { hiddenSize: 128 } });
    expect(steps.map(({ step }) => step)).toEqual(Array.from({ length: numSteps }, (_, n) => n));
    for (const step of steps) for (const name of ['loss', 'gradNorm', 'tokensPerSecond']) expect(step[name], name).toBeGreaterThan(0);
    const losses = steps.map(({ loss }) => loss as number);
    expect(losses[0]).toBeCloseTo(Math.log(256), 1);
    expect(losses.at(-1)).toBeLessThan(3.8);
  });

  it('prints the model, its progress in plain lines, and text of its own', () => {
    const { lines } = end;
    expect(lines[0]).toMatch(/^module +form +local +global +bytes$/);
    expect(lines).toContain('This is the part of rank 0: 8 ranks, data 2 x pipeline 2 x tensor 2.');
    const progress = lines.filter((line) => line.startsWith('step '));
    expect(progress.length).toBeGreaterThan(10);
    expect(progress[0]).toMatch(
      /^step {2}1\/30 · loss 5\.\d{3} nats per byte · grad norm \S+ · .+ tokens\/s · \d+:\d\d left · memory .+ \(peak .+\)$/,
    );
    const from = lines.findIndex((line) => line.startsWith('The country '));
    expect(lines.slice(from, -2).join('\n').length).toBeGreaterThan(200);
    expect(lines.at(-1)).toBe(`Metrics are in ${join('runs', 'quickstart', 'metrics.jsonl')}.`);
  });
});
