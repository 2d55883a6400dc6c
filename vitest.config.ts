import { defaultClientConditions, defaultServerConditions } from 'vite';
import { configDefaults, defineConfig } from 'vitest/config';

const source = '@megatron-ts/source';
const full = process.env['MEGATRON_TEST_FULL'] === '1';

export default defineConfig({
  resolve: { conditions: [source, ...defaultClientConditions] },
  ssr: { resolve: { conditions: [source, ...defaultServerConditions] } },
  test: {
    pool: 'forks',
    maxWorkers: 2,
    include: ['packages/*/test/**/*.test.ts', 'tests/**/*.test.ts'],
    exclude: [...configDefaults.exclude, ...(full ? [] : ['tests/full/**'])],
    // Every tensor of every test is held against the placement that its operation needs, in spawned ranks too.
    env: { MEGATRON_CHECK: process.env['MEGATRON_CHECK'] ?? 'placements' },
    // A deadline for what hangs, not a measure: ranks share two cores with everything else.
    testTimeout: 300_000,
    hookTimeout: 300_000,
    reporters: ['default', './tools/summary-reporter.ts'],
  },
});
