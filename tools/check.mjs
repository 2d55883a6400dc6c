// All checks, cheap ones first; each prints its own faults, the end says which failed. Words on the command line choose among them.
import { spawnSync } from 'node:child_process';

const node = process.execPath;
const checks = {
  references: [node, 'tools/write-references.mjs', '--check'],
  layers: [node, 'tools/check-layers.mjs'],
  sizes: [node, 'tools/check-sizes.mjs'],
  lock: [node, 'tools/check-lock.mjs'],
  exports: [node, 'tools/check-exports.mjs'],
  format: [node, 'node_modules/prettier/bin/prettier.cjs', '--check', '--log-level', 'warn', '.'],
  types: [node, 'node_modules/typescript/bin/tsc', '-b'],
  snippets: [node, 'tools/check-snippets.mjs'],
  lint: [node, 'node_modules/eslint/bin/eslint.js', '.'],
  rustfmt: ['cargo', 'fmt', '--all', '--check'],
  clippy: ['cargo', 'clippy', '--workspace', '--exclude', 'megatron-binding', '--all-targets', '--quiet', '--', '-D', 'warnings'],
  // Apart: under test its exports, which only Node calls, would count as unused.
  'clippy-binding': ['cargo', 'clippy', '--package', 'megatron-binding', '--quiet', '--', '-D', 'warnings'],
};

const chosen = process.argv.length > 2 ? process.argv.slice(2) : Object.keys(checks);
const unknown = chosen.filter((name) => !(name in checks));
if (unknown.length > 0) console.error(`check: there is no check ${unknown.join(', ')}. Use ${Object.keys(checks).join(', ')}.`);
const failed = chosen.filter((name) => {
  const [command, ...args] = checks[name] ?? [node, '-e', 'process.exit(2)'];
  const started = performance.now();
  const { status } = spawnSync(command, args, { stdio: 'inherit' });
  console.log(`${status === 0 ? 'ok    ' : 'FAILED'} ${name} ${((performance.now() - started) / 1000).toFixed(1)} s`);
  return status !== 0;
});
if (failed.length > 0) console.error(`check: ${failed.join(', ')} failed.`);
process.exitCode = failed.length > 0 ? 1 : 0;
