import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { hashOf, readStamp, writeStamp } from './stamp.mjs';
import { refuse } from './refuse.mjs';
import { checkToolchain } from './toolchain.mjs';

const stamp = 'build/engine-hash';
const folder = 'packages/native';

/** Builds the engine when its sources differ from those of the addon that is there; says what it did. */
export function buildEngine() {
  const profile = process.env.MEGATRON_ENGINE_PROFILE ?? 'release';
  const sources = ['Cargo.toml', 'Cargo.lock', ...filesBelow('crates').filter((path) => !path.endsWith('/tests.rs'))];
  const hash = `${hashOf(sources)} ${profile} ${process.platform}-${process.arch}`;
  if (readdirSync(folder).some((name) => name.endsWith('.node')) && readStamp(stamp) === hash) return undefined;
  checkToolchain();
  console.log('setup: building the engine (about a minute the first time) …');
  mkdirSync('build', { recursive: true });
  const beside = mkdtempSync('build/engine-');
  try {
    install(compile(profile, beside), beside);
  } finally {
    rmSync(beside, { recursive: true, force: true });
  }
  writeStamp(stamp, hash);
  return 'engine built';
}

function filesBelow(top) {
  return readdirSync(top, { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).replaceAll('\\', '/'))
    .sort();
}

/** Compiles into `beside`; returns the addon's file name. */
function compile(profile, beside) {
  const where = ['--cwd', folder, '--manifest-path', '../../crates/binding/Cargo.toml', '--output-dir', `../../${beside}`];
  const args = ['build', '--platform', '--profile', profile, ...where, '--js', 'binding.js', '--dts', 'binding.d.ts'];
  const { status, stdout, stderr } = spawnSync(process.execPath, ['node_modules/@napi-rs/cli/dist/cli.js', ...args], { encoding: 'utf8' });
  const addon = readdirSync(beside).find((name) => name.endsWith('.node'));
  if (status === 0 && addon !== undefined && existsSync(`${beside}/binding.js`)) return addon;
  rmSync(beside, { recursive: true, force: true });
  process.stderr.write(`${stdout}${stderr}`);
  return refuse(
    status === 0
      ? 'the napi tool left no addon or no binding.js. Remove build/ and target/ and run npm run setup again.'
      : "the engine did not build; the compiler's message is above. Correct it and run npm run setup again.",
  );
}

/** Completes the generated files and moves all three into place, each by a rename. */
function install(addon, beside) {
  addHotOps(beside, addon);
  for (const name of [addon, 'binding.js', 'binding.d.ts']) renameSync(join(beside, name), join(folder, name));
}

/** The raw operations are unknown to the napi tool: their typings come from the addon itself. */
function addHotOps(beside, addon) {
  const print = 'const m = { exports: {} }; process.dlopen(m, process.argv[1]); console.log(JSON.stringify(m.exports.hotOpTypings()))';
  const typings = JSON.parse(execFileSync(process.execPath, ['-e', print, join(process.cwd(), beside, addon)], { encoding: 'utf8' }));
  const names = typings.map((typing) => /function (\w+)/.exec(typing)[1]);
  const declarations = readFileSync(`${beside}/binding.d.ts`, 'utf8').trimEnd();
  const loader = readFileSync(`${beside}/binding.js`, 'utf8').trimEnd();
  writeFileSync(`${beside}/binding.d.ts`, `${declarations}\n\n${typings.join('\n\n')}\n`);
  writeFileSync(`${beside}/binding.js`, `${loader}\n${names.map((name) => `module.exports.${name} = nativeBinding.${name}`).join('\n')}\n`);
}
