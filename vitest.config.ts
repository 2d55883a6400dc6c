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
    // A deadline for what hangs, not a measure: ranks share two cores with everything else.
    testTimeout: 300_000,
    hookTimeout: 300_000,
    reporters: ['default', './tools/summary-reporter.ts'],
  },
});
