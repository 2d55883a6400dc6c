import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { capture, fakeMachine, hostKernels, type Skipping, skips } from '../../cuda/play.ts';

/** Kernels compiled for this machine's CPU, launched by a fake driver as they are asked for and as parts of a graph. */
describe.runIf(process.platform === 'linux')('steps that are captured, on a fake device whose kernels run on the CPU', () => {
  let machine: ReturnType<typeof fakeMachine>;
  beforeAll(() => {
    machine = fakeMachine();
  });
  afterAll(() => machine.end());

  it.each([
    ['f32', ''],
    ['bf16', ''],
    ['f32', 'lazy=1'], // work is done only when somebody asks for it: an order that is not written out shows
  ] as const)('have the bits of steps as they are, with dropout, clipping and a changing rate: %s %s', (dtype, how) => {
    const { isCaptured, asTheyAre, captured, late, values, stats } = capture({
      folder: machine.folder,
      fake: `run=${hostKernels} ${how}`,
      dtype,
    });
    expect(isCaptured).toBe(true);
    expect((stats.at(-1)?.cudnnAttentions ?? 0) > 0).toBe(dtype === 'bf16');
    expect(captured).toEqual(asTheyAre);
    expect(late).toEqual(asTheyAre.map(({ loss }) => loss));
    const [plain, ...others] = values;
    for (const other of others) expect(other).toEqual(plain);
    // The steps are what they should be: every one is clipped, and no two have the same rate, or the same loss.
    expect(asTheyAre.every(({ gradNorm }) => (gradNorm ?? 0) > 0.5)).toBe(true);
    expect(new Set(asTheyAre.map(({ lr }) => lr)).size).toBe(asTheyAre.length);
    expect(new Set(asTheyAre.map(({ loss }) => loss)).size).toBe(asTheyAre.length);
  });

  it.each(['', 'busy=1'])('leave out what the CPU leaves out, also while nobody knows of it yet: %s', (how) => {
    const there = skips({ device: 'cuda', folder: machine.folder, fake: `run=${hostKernels} ${how}` });
    const here = skips({ device: 'cpu' });
    const outline = ({ waited }: Skipping) => waited.map(({ skipped, lr }) => ({ skipped, lr }));
    expect(outline(there)).toEqual(outline(here));
    expect(here.waited.filter(({ skipped }) => skipped)).toHaveLength(6);
    expect(there.late).toEqual(there.waited);
    const [waited, ...others] = there.values;
    expect(others).toEqual([waited, waited]);
    const far = (waited ?? []).map((value, i) => Math.abs(value - (here.values[0]?.[i] ?? Number.NaN)));
    expect(Math.max(...far)).toBeLessThan(1e-4); // products add in another order
  });
});
