// Packs the published packages, installs them into an empty folder outside the repository and uses them as strangers do.
import { spawnSync } from 'node:child_process';
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join, resolve } from 'node:path';
import { stage } from './stage.mjs';

const node = process.execPath;
const failures = [];

function report(good, title, details = '') {
  console.log(`${good ? 'ok    ' : 'FAILED'} ${title}`);
  if (good) return;
  console.log(details);
  failures.push(title);
}

/** Runs a command; it is good when it succeeds and prints what is expected. Returns what it printed. */
function run(title, [command, ...args], { cwd = '.', expect = /(?:)/ } = {}) {
  const { status, stdout, stderr } = spawnSync(command, args, { cwd, encoding: 'utf8', shell: process.platform === 'win32' });
  report(status === 0 && expect.test(stdout), title, `${stdout}${stderr}`);
  return status === 0 ? stdout : undefined;
}

function pack(folder) {
  const printed = run(`npm pack ${basename(folder)}`, ['npm', 'pack', '--json', '--pack-destination', resolve('build/stage')], {
    cwd: folder,
  });
  if (printed === undefined) throw new Error(`test:pack: npm pack failed in ${folder}; its message is above.`);
  const [{ filename }] = JSON.parse(printed);
  return resolve('build/stage', filename);
}

/** A published package imports the one below it by name, and no private room. */
function checkNames(folder, below) {
  const names = new RegExp(`from ['"]@megatron-ts/(?!${below}['"])`);
  const inner = readdirSync(`${folder}/dist`)
    .filter((name) => /\.(d\.ts|js)$/.test(name))
    .filter((name) => names.test(readFileSync(`${folder}/dist/${name}`, 'utf8')));
  report(inner.length === 0, `no private name in dist of ${basename(folder)}`, `${inner.join(', ')} import a private room.`);
}

function checkManifest(tarball) {
  const name = basename(tarball);
  run(`publint ${name}`, [node, 'node_modules/publint/src/cli.js', tarball, '--strict']);
  // ESM alone is published: Node 20.19 and newer load it with require.
  const profile = ['--profile', 'node16', '--ignore-rules', 'cjs-resolves-to-esm'];
  run(`attw ${name}`, [node, 'node_modules/@arethetypeswrong/cli/dist/index.js', tarball, ...profile]);
}

function useInstalled(home) {
  const bin = join(home, 'node_modules/@megatron-ts/core/bin/megatron-ts.js');
  cpSync('examples/01-parallel-mlp.ts', join(home, 'train.ts'));
  for (const name of ['consumer.mjs', 'consumer.cjs', 'consumer-onnx.mjs']) cpSync(`tests/pack/${name}`, join(home, name));
  run('example 01 on 2 ranks', [node, bin, 'run', '--ranks', '2', 'train.ts'], { cwd: home, expect: /^\[rank 0\] .*\d/m });
  run('npx megatron-ts', ['npx', '--no-install', 'megatron-ts', 'run', 'consumer.mjs'], { cwd: home, expect: /^\[rank 0\] loss true$/m });
  run('node consumer.mjs', [node, 'consumer.mjs'], { cwd: home, expect: /^loss true$/m });
  run('node consumer-onnx.mjs', [node, 'consumer-onnx.mjs'], { cwd: home, expect: /^onnx true$/m });
  run('require', [node, 'consumer.cjs'], { cwd: home, expect: /^schedule object$/m });
}

/** A strict consumer compiles, with and without the types of Node, and without skipLibCheck. */
function compile(home, title, { lib, types }) {
  const config = `tsconfig.${title.replaceAll(' ', '-')}.json`;
  const compilerOptions = { target: 'ES2022', module: 'NodeNext', lib, types, typeRoots: [resolve('node_modules/@types')] };
  const strict = { strict: true, noEmit: true, skipLibCheck: false, exactOptionalPropertyTypes: true };
  writeFileSync(join(home, config), JSON.stringify({ compilerOptions: { ...compilerOptions, ...strict }, files: ['consumer.ts'] }));
  run(`types ${title}`, [node, 'node_modules/typescript/bin/tsc', '-p', join(home, config)]);
}

run('tsup', [node, 'node_modules/tsup/dist/cli-default.js', '--silent']);
const { platform, native, core, onnx } = stage();
const tarballs = [platform, native, core, onnx].map(pack);
checkNames(core, 'native');
checkNames(onnx, 'core');
run('surface', [node, 'tools/check-surface.mjs', 'packages/core/dist', 'index', 'flight-recorder', 'schedule', 'testing']);
run('surface of onnx', [node, 'tools/check-surface.mjs', 'packages/onnx/dist', 'index']);
for (const tarball of tarballs.slice(1)) checkManifest(tarball);

const home = mkdtempSync(join(tmpdir(), 'megatron-pack-'));
try {
  writeFileSync(join(home, 'package.json'), '{ "name": "stranger", "private": true, "type": "module" }\n');
  run('npm install', ['npm', 'install', '--no-audit', '--no-fund', ...tarballs], { cwd: home });
  useInstalled(home);
  cpSync('tests/pack/consumer.ts', join(home, 'consumer.ts'));
  compile(home, 'with node types', { lib: ['ES2022'], types: ['node'] });
  compile(home, 'without node types', { lib: ['ES2022', 'DOM'], types: [] });
} finally {
  rmSync(home, { recursive: true, force: true });
}
if (failures.length > 0) console.error(`test:pack: ${failures.length} failed: ${failures.join(', ')}.`);
process.exitCode = failures.length > 0 ? 1 : 0;
