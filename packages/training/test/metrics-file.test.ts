import { MetricsFile, type RunHeader } from '@megatron-ts/training';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

let folder: string;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'megatron-metrics-'));
});
afterAll(() => rmSync(folder, { recursive: true }));

const header: RunHeader = { seed: 7, config: { hiddenSize: 8 }, layout: { data: 2 } };
const step = { step: 0, loss: 5.5, gradNorm: 1.25, tokensPerSecond: 1000 };

function linesOf(path: string): unknown[] {
  const text = readFileSync(path, 'utf8');
  expect(text.endsWith('\n')).toBe(true);
  return text
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as unknown);
}

describe('a metrics file', () => {
  it('has a header and one object per step, written at once', () => {
    const metrics = new MetricsFile('run', header, { folder });
    expect(metrics.path).toBe(join(folder, 'run', 'metrics.jsonl'));
    metrics.step(step);
    metrics.step({ ...step, step: 1, learningRate: 0.1 });
    const versions = { node: process.versions.node, megatron: 'source' };
    expect(linesOf(metrics.path)).toEqual([{ header: { ...header, versions } }, step, { ...step, step: 1, learningRate: 0.1 }]);
    metrics.close();
  });

  it('begins anew where there was one, and closes with its block', () => {
    {
      using metrics = new MetricsFile('run', header, { folder });
      metrics.step(step);
    }
    expect(linesOf(join(folder, 'run', 'metrics.jsonl'))).toHaveLength(2);
  });

  it('writes what is no number as null', () => {
    using metrics = new MetricsFile('broken', header, { folder });
    metrics.step({ ...step, loss: Number.NaN });
    expect(linesOf(metrics.path)[1]).toEqual({ ...step, loss: null });
  });

  it('says which file it cannot write', () => {
    const file = join(folder, 'file');
    writeFileSync(file, '');
    const path = join(file, 'run', 'metrics.jsonl');
    expect(() => new MetricsFile('run', header, { folder: file })).toThrow(
      `MetricsFile: ${path} cannot be written (ENOTDIR: not a directory, mkdir '${join(file, 'run')}'). Choose a folder that can.`,
    );
  });
});
