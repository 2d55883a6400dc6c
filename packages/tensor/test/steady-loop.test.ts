import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { beforeAll, describe, expect, it } from 'vitest';

interface Mark {
  readonly liveBytes: number;
  readonly liveHandles: number;
  readonly reservedBytes: number;
  readonly systemCalls: number;
  readonly residentBytes: number;
  readonly byCategory: Readonly<Record<string, { readonly liveBytes: number; readonly peakBytes: number }>>;
}

/** JavaScript's own heap settles within the first hundreds of steps; from then on this much is allowed for its swings. */
const residentGrowth = 24 * 2 ** 20;

describe('a training loop of 1,000 steps whose garbage collector nobody calls', () => {
  let [early, settled, late] = [] as unknown as [Mark, Mark, Mark];

  beforeAll(() => {
    const program = fileURLToPath(new URL('programs/steady-loop.ts', import.meta.url));
    const flags = ['--expose-gc', '--conditions=@megatron-ts/source', '--import', import.meta.resolve('tsx')];
    const marks = JSON.parse(execFileSync(process.execPath, [...flags, program], { encoding: 'utf8' })) as Record<string, Mark>;
    [early, settled, late] = [marks['10'], marks['300'], marks['1000']] as [Mark, Mark, Mark];
  });

  it('holds after the last step the bytes that it held after the tenth', () => {
    expect([late.liveBytes, late.liveHandles]).toEqual([early.liveBytes, early.liveHandles]);
    for (const category of ['parameters', 'gradients', 'optimizer', 'activations', 'communication'])
      expect(late.byCategory[category]?.liveBytes, category).toBe(early.byCategory[category]?.liveBytes);
  });

  it('asks the system for nothing after the tenth step', () => {
    expect(late.systemCalls - early.systemCalls).toBe(0);
    expect(late.reservedBytes).toBe(early.reservedBytes);
  });

  it('does not grow', () => {
    expect(late.residentBytes - settled.residentBytes).toBeLessThan(residentGrowth);
  });

  it('counts parameters and gradients as such', () => {
    const bytes = 4 * (256 * 64 + 256 + 64 * 256);
    expect(late.byCategory['parameters']?.liveBytes).toBe(bytes);
    expect(late.byCategory['gradients']?.liveBytes).toBe(bytes);
    expect(late.byCategory['activations']?.liveBytes).toBe(0);
    expect(late.byCategory['activations']?.peakBytes).toBeGreaterThan(128 * 256 * 4);
  });
});
