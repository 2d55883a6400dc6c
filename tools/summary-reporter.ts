import { writeFileSync } from 'node:fs';
import type { Reporter, TestModule } from 'vitest/node';

/** Counts of one run of tests. */
interface Counts {
  readonly passed: number;
  readonly failed: number;
}

/** An import or a hook that fails outside any test counts as one failed. */
function countsOf(module: TestModule): Counts {
  const states = [...module.children.allTests()].map((test) => test.result().state);
  const failed = states.filter((state) => state === 'failed').length;
  return { passed: states.filter((state) => state === 'passed').length, failed: failed === 0 && module.state() === 'failed' ? 1 : failed };
}

/** Ends a run with `N passed, N failed`; `MEGATRON_COUNTS` names a file for the numbers instead, for tools/test.mjs to add up. */
export default class SummaryReporter implements Reporter {
  onTestRunEnd(modules: readonly TestModule[], unhandled: readonly unknown[]): void {
    const counts = modules.map(countsOf);
    const passed = counts.reduce((sum, module) => sum + module.passed, 0);
    const failed = counts.reduce((sum, module) => sum + module.failed, unhandled.length);
    const file = process.env['MEGATRON_COUNTS'];
    if (file !== undefined) writeFileSync(file, JSON.stringify({ passed, failed }));
    else process.once('exit', () => process.stdout.write(`\n${passed} passed, ${failed} failed\n`));
  }
}
