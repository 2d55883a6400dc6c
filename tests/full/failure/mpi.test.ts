import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { runRanks } from '@megatron-ts/testing';
import { beforeAll, describe, expect, it } from 'vitest';
import { patienceMs } from '../../failure/patience.ts';
import { type Recording, type Run, readRun } from '../../parity/recording.ts';
import { culprit, tardy, trained } from './mpi-plan.ts';
import { flavours, type MpiWorld, runUnderMpi } from './mpi-world.ts';

const size = trained.ranks.length;
let overSharedMemory: Run;

/** All that depends on what moved the data. */
function numbersOf({ gradients, losses, gradNorms, final, means, squares }: Recording) {
  return { gradients, losses, gradNorms, final, means, squares };
}

/** Each of `ranks` has said the same sentence, in time, and ended with status 1. */
function expectTold(
  world: MpiWorld,
  { ranks, code, says }: { readonly ranks: readonly number[]; readonly code: string; readonly says: RegExp },
): void {
  const begun = world.seen[culprit]?.[0]?.from ?? Number.NaN;
  const sentences = ranks.map((rank) => {
    const told = world.seen[rank]?.at(-1);
    expect(told, `rank ${rank}\n${world.printed}`).toMatchObject({ code, culprits: [culprit], message: expect.stringMatching(says) });
    if (rank !== culprit) expect((told?.to ?? Number.NaN) - Math.max(begun, told?.from ?? Number.NaN)).toBeLessThan(patienceMs);
    expect(world.statuses[rank]).toBe(1);
    return told?.message;
  });
  expect(new Set(sentences).size).toBe(1);
}

describe.runIf(process.platform === 'linux')('ranks under an MPI launcher', () => {
  beforeAll(async () => {
    const folder = mkdtempSync(join(tmpdir(), 'megatron-shm-'));
    await runRanks(size, new URL('../../parity/ranks/walk-runs.ts', import.meta.url), 'walkRuns', { args: [folder, [trained]] });
    overSharedMemory = readRun(folder, { name: trained.name, size });
    rmSync(folder, { recursive: true });
  });

  describe.each(flavours)('of $name', (flavour) => {
    it('train with the bits of shared memory, wait for one that is late, and name one that brings another size', async () => {
      const world = await runUnderMpi(flavour, size, 'train');
      expect(world.run?.map(numbersOf), world.printed).toEqual(overSharedMemory.map(numbersOf));
      expect(world.printed).toMatch(
        new RegExp(`rank 0 has waited .*\\(loss\\) on group world: rank ${tardy} \\(pid \\d+, host .*, alive\\) never joined`),
      );
      const says = new RegExp(`rank ${culprit} called allReduce#\\d+ f32\\[5\\] \\(loss\\) while rank 0 called allReduce#\\d+ f32\\[4\\]`);
      expectTold(world, { ranks: [0, 1, 2, 3], code: 'MISMATCH', says });
    });

    it('name one that is killed', async () => {
      const world = await runUnderMpi(flavour, size, 'die');
      const says = new RegExp(`rank ${culprit} \\(pid \\d+, host .*\\) exited while rank \\d was in allReduce#\\d+ f32\\[4\\] \\(loss\\)`);
      expectTold(world, { ranks: [0, 1, 3], code: 'PEER_LOST', says });
      expect(world.statuses[culprit]).toBe(128 + 9);
    });
  });
});
