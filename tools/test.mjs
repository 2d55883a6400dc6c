// cargo test and vitest, counted together; the last line is `N passed, N failed`.
//   --full        runs tests/full as well, process groups over MPI, and the CUDA kernels' text: tools/mpi.mjs and tools/cuda-check.mjs
//                 fetch libraries and a compiler, which needs python3, and the text is run on the CPU, which needs a C++ compiler
//   other words   go to vitest, which then runs without the usual cargo tests
import { spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync, rmSync } from 'node:fs';

const counts = 'build/vitest-counts.json';
const full = process.argv.includes('--full');
const words = process.argv.slice(2).filter((word) => word !== '--full');

const usual = ['--workspace', '--exclude', 'megatron-binding'];

function runCargo(selection) {
  const args = ['test', ...selection, '--no-fail-fast', '--quiet'];
  const { status, stdout } = spawnSync('cargo', args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] });
  const text = stdout ?? '';
  process.stdout.write(text);
  const results = [...text.matchAll(/^test result: .*? (\d+) passed; (\d+) failed;/gm)];
  const passed = results.reduce((sum, [, count]) => sum + Number(count), 0);
  const failed = results.reduce((sum, [, , count]) => sum + Number(count), 0);
  // It did not compile, or a test process died.
  return { passed, failed: status !== 0 && failed === 0 ? 1 : failed };
}

/** Process groups over MPI on one host and, where this machine can make network namespaces, on two. */
function runMpi() {
  const { status } = spawnSync(process.execPath, ['tools/mpi.mjs'], { stdio: ['ignore', 'ignore', 'inherit'] });
  if (status !== 0) return { passed: 0, failed: 1 };
  const tests = ['mpi', 'mpi_contract', ...(canMakeHosts() ? ['mpi_hosts'] : [])];
  return runCargo(['-p', 'megatron-comm', '--features', 'mpi-tests', ...tests.flatMap((test) => ['--test', test])]);
}

/** Every CUDA kernel compiled for each generation of GPUs, and then run on the CPU beside the CPU's own. */
function runCuda() {
  const { status } = spawnSync(process.execPath, ['tools/cuda-check.mjs'], { stdio: ['ignore', 'ignore', 'inherit'] });
  const ran = runCargo(['-p', 'megatron-kernels', '--features', 'cuda-on-cpu', '--test', 'cuda_on_cpu']);
  return status === 0 ? { ...ran, passed: ran.passed + 1 } : { ...ran, failed: ran.failed + 1 };
}

/** Says so when it cannot: two hosts on one machine need root and the tools for network namespaces. */
function canMakeHosts() {
  const name = `megatron-${process.pid}`;
  const { status, stderr, error } = spawnSync('ip', ['netns', 'add', name], { encoding: 'utf8' });
  if (status === 0) spawnSync('ip', ['netns', 'delete', name]);
  else console.log(`test: not run: MPI on two hosts, since this machine makes no network namespaces (${error?.message ?? stderr.trim()}).`);
  return status === 0;
}

function runVitest() {
  rmSync(counts, { force: true });
  mkdirSync('build', { recursive: true });
  const env = { ...process.env, MEGATRON_COUNTS: counts, ...(full ? { MEGATRON_TEST_FULL: '1' } : {}) };
  const { status } = spawnSync(process.execPath, ['node_modules/vitest/vitest.mjs', 'run', '--passWithNoTests', ...words], {
    stdio: 'inherit',
    env,
  });
  const { passed, failed } = readCounts() ?? { passed: 0, failed: 1 };
  return { passed, failed: status !== 0 && failed === 0 ? 1 : failed };
}

/** What the reporter counted; undefined when vitest died before it could. */
function readCounts() {
  try {
    return JSON.parse(readFileSync(counts, 'utf8'));
  } catch {
    return undefined;
  }
}

const results = [...(words.length === 0 ? [runCargo(usual)] : []), ...(full ? [runMpi(), runCuda()] : []), runVitest()];
const passed = results.reduce((sum, result) => sum + result.passed, 0);
const failed = results.reduce((sum, result) => sum + result.failed, Number(process.env.MEGATRON_FAILED_STEPS ?? 0));
console.log(`\n${passed} passed, ${failed} failed`);
process.exitCode = failed > 0 ? 1 : 0;
