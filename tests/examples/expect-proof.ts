import { expect } from 'vitest';
import type { ProgramEnd } from './run-example.ts';

/** What the offline proof prints for a world of `size` ranks: that it holds, and the mistake it finds in another. */
export function expectProof(end: ProgramEnd, size: number): void {
  expect(end).toMatchObject({ code: 0, stderr: '' });
  expect(end.lines).toHaveLength(2);
  const [proof, mistake] = end.lines;
  expect(proof).toMatch(new RegExp(`^proven: \\d+ operations of ${size} ranks in \\d+ groups, in \\S+ s$`));
  expect(mistake).toMatch(/^with a mistake: .*rank 19 /);
}
