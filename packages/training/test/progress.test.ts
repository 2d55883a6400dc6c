import { Progress, type ProgressOptions, type StepMetrics } from '@megatron-ts/training';
import { formatBytes, formatCount, formatDuration } from '@megatron-ts/training';
import { describe, expect, it, vi } from 'vitest';

const metrics = (step: number): StepMetrics => ({ step, loss: 5 - step / 2, gradNorm: 1.25, tokensPerSecond: 12_345.6 });

/** What is written while steps take two seconds each; memory, which other tests share, is left out, and so is its table at the end. */
function written(options: Partial<ProgressOptions>, steps: readonly number[]): string[] {
  let clock = 1000;
  const lines: string[] = [];
  const progress = new Progress({ totalSteps: 10, isTerminal: false, now: () => clock, write: (text) => lines.push(text), ...options });
  for (const step of steps) {
    clock += 2000;
    progress.step(metrics(step));
  }
  const steady = lines.filter((line) => !line.startsWith('memory '));
  return steady.map((line) => line.replace(/memory [\d.]+ (B|KiB|MiB) \(peak [\d.]+ (B|KiB|MiB)\)/, 'memory …'));
}

const all = Array.from({ length: 10 }, (_, i) => i);

describe('progress', () => {
  it('redraws one line on a terminal, and ends it after the last step', () => {
    const lines = written({ isTerminal: true }, all);
    expect(lines).toHaveLength(10);
    expect(lines[0]).toBe('\r\u001b[2Kstep  1/10 · loss 5.000 nats per token · grad norm 1.25 · 12.3 k tokens/s · 0:18 left · memory …');
    expect(lines[9]).toBe('\r\u001b[2Kstep 10/10 · loss 0.500 nats per token · grad norm 1.25 · 12.3 k tokens/s · 0:00 left · memory …\n');
  });

  it('writes plain lines elsewhere, every few steps and the last', () => {
    const lines = written({ every: 4, lossUnit: 'nats per byte' }, all);
    expect(lines.map((line) => line.slice(0, 10))).toEqual(['step  1/10', 'step  5/10', 'step  9/10', 'step 10/10']);
    expect(lines[1]).toBe('step  5/10 · loss 3.000 nats per byte · grad norm 1.25 · 12.3 k tokens/s · 0:10 left · memory …\n');
  });

  it('writes about twenty lines however long the run is', () => {
    expect(
      written(
        { totalSteps: 1000 },
        Array.from({ length: 1000 }, (_, i) => i),
      ),
    ).toHaveLength(21);
    expect(written({ totalSteps: 3 }, [0, 1, 2])).toHaveLength(3);
  });

  it('tells the time left of a run that did not begin at step 0', () => {
    expect(written({ every: 1 }, [6, 7])[1]).toContain('· 0:04 left ·');
  });

  it('tells after the last step, and not before, where memory went', () => {
    const texts: string[] = [];
    const progress = new Progress({ totalSteps: 3, isTerminal: false, write: (text) => texts.push(text) });
    for (const step of [0, 1, 2]) progress.step(metrics(step));
    expect(texts).toHaveLength(4);
    expect(texts[3]).toMatch(/^memory +live +peak\n(.+\n)*all tensors +\S+ \S+ +\S+ \S+\nreserved +\S+ \S+\n$/);
  });

  it('writes a loss that is no number as it is', () => {
    const write = vi.fn<(text: string) => void>();
    new Progress({ totalSteps: 2, isTerminal: false, write }).step({ ...metrics(0), loss: Number.NaN });
    expect(write.mock.calls[0]?.[0]).toContain('loss NaN');
  });

  it.each([
    ['tty', true],
    ['', false],
  ])('takes the word of the launcher (%j) for what standard output is', (word, isRedrawn) => {
    vi.stubEnv('MEGATRON_PROGRESS', word);
    const write = vi.fn<(text: string) => void>();
    new Progress({ totalSteps: 2, write }).step(metrics(0));
    expect(write.mock.calls[0]?.[0].startsWith('\r')).toBe(isRedrawn);
    vi.unstubAllEnvs();
  });
});

describe('quantities', () => {
  it.each([
    [formatCount(0), '0'],
    [formatCount(999), '999'],
    [formatCount(1000), '1.0 k'],
    [formatCount(999_999), '1.0 M'],
    [formatBytes(2 ** 20 - 1), '1.0 MiB'],
    [formatCount(174_591_510_528), '175 G'],
    [formatBytes(1023), '1023 B'],
    [formatBytes(1536), '1.5 KiB'],
    [formatBytes(3 * 2 ** 30), '3.0 GiB'],
    [formatDuration(59.6), '1:00'],
    [formatDuration(3723), '1:02:03'],
    [formatDuration(-1), '0:00'],
  ])('%s', (text, expected) => {
    expect(text).toBe(expected);
  });
});
