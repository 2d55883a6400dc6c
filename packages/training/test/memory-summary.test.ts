import { inCategory, resetPeakMemory, scope, zeros } from '@megatron-ts/tensor';
import { memorySummary } from '@megatron-ts/training';
import { describe, expect, it } from 'vitest';

describe('the summary of memory', () => {
  it('shows each use with its bytes now and at most, and leaves out those that never had any', () => {
    scope(() => {
      const moments = inCategory('optimizer', () => zeros([256]));
      resetPeakMemory();
      zeros([512]).dispose();
      const table = memorySummary().split('\n');
      expect(new Set(table.slice(0, -1).map(({ length }) => length)).size).toBe(1);
      const lines = table.map((line) => line.replaceAll(/ {2,}/g, ' | '));
      expect(lines[0]).toBe('memory | live | peak');
      expect(lines.find((line) => line.startsWith('optimizer'))).toBe('optimizer | 1.0 KiB | 1.0 KiB');
      expect(lines.find((line) => line.startsWith('activations'))).toBe('activations | 0 B | 2.0 KiB');
      expect(lines.find((line) => line.startsWith('communication'))).toBeUndefined();
      expect(lines.find((line) => line.startsWith('all tensors'))).toBe('all tensors | 1.0 KiB | 3.0 KiB');
      expect(lines.at(-1)).toMatch(/^reserved \| \d+(\.\d)? MiB$/);
      moments.dispose();
    });
  });
});
