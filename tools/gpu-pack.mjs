// Makes build/gpu-pack: one folder that runs on a bare Linux machine with an NVIDIA driver and a Python that has PyTorch. It holds this
// Node, the built packages with their engine, the programs of bench/gpu as plain JavaScript, and the peers in Python.
import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  closeSync,
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'tsup';
import { stage } from './stage.mjs';

const pack = 'build/gpu-pack';
/** The most it may weigh: it is carried to machines that take no more. */
const limitMiB = 40;

function refuse(sentence) {
  console.error(`gpu-pack: ${sentence}`);
  process.exit(1);
}

function run(command, args, options = {}) {
  const { status, error } = spawnSync(command, args, { stdio: 'inherit', ...options });
  if (status !== 0) refuse(`${command} ${args.join(' ')} failed (${error?.message ?? `status ${status}`}). See above.`);
}

/** The built packages as npm would install them, without what only editors and debuggers read. */
function addPackages() {
  run(process.execPath, ['node_modules/tsup/dist/cli-default.js', '--silent']);
  const { platform, native, core } = stage();
  for (const folder of [platform, native, core]) {
    const { name } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'));
    const filter = (path) => !/\.(map|d\.ts)$/.test(path);
    cpSync(folder, join(pack, 'node_modules', name), { recursive: true, filter });
  }
}

/**
 * The programs that need the inside of the engine carry the rooms with them, all but the engine itself; those that train import the
 * package, as anyone would.
 */
async function addPrograms() {
  const shared = {
    config: false,
    format: 'esm',
    target: 'node20',
    outDir: `${pack}/programs`,
    splitting: false,
    silent: true,
    clean: false,
  };
  const of = (names) => names.map((name) => `bench/gpu/${name}.ts`);
  const rooms = { noExternal: [/^@megatron-ts\/(?!native$)/], external: ['@megatron-ts/native'] };
  const esbuildOptions = (options) => {
    options.conditions = ['@megatron-ts/source'];
  };
  await build({ ...shared, entry: of(['main', 'ops-worker']), ...rooms, tsconfig: 'tsconfig.bundle.json', esbuildOptions });
  await build({ ...shared, entry: of(['train-worker', 'ranks-worker']), external: [/^@megatron-ts\//], tsconfig: 'tsconfig.bundle.json' });
  writeFileSync(`${pack}/programs/package.json`, '{ "type": "module" }\n');
}

function addPeers() {
  const folder = `${pack}/programs/peers`;
  mkdirSync(folder, { recursive: true });
  const python = (from) => readdirSync(from).filter((name) => name.endsWith('.py'));
  for (const from of ['bench/peers', 'bench/gpu/peers'])
    for (const name of python(from)) copyFileSync(`${from}/${name}`, `${folder}/${name}`);
}

/** This Node, as small as xz makes it in half a minute; what it made is kept for the same Node. */
function addNode() {
  const kept = `build/node-${process.version}-${process.arch}.xz`;
  if (!existsSync(kept)) {
    console.log(`gpu-pack: packing Node ${process.version}; this takes half a minute, once.`);
    const draft = openSync(`${kept}.draft`, 'w');
    run('xz', ['-6', '-T0', '--stdout', process.execPath], { stdio: ['ignore', draft, 'inherit'] });
    closeSync(draft);
    renameSync(`${kept}.draft`, kept);
  }
  copyFileSync(kept, `${pack}/node.xz`);
}

const filesIn = (folder) =>
  readdirSync(folder, { withFileTypes: true, recursive: true }).flatMap((entry) =>
    entry.isFile() ? [join(entry.parentPath, entry.name)] : [],
  );

/**
 * The engine's messages of panics name the sources of its dependencies by where cargo keeps them, which is nobody's business elsewhere:
 * as many other bytes take that place. @throws where a file still names this folder or this home
 */
function forgetPaths() {
  const home = process.env.CARGO_HOME ?? join(homedir(), '.cargo');
  for (const path of filesIn(pack).filter((path) => path.endsWith('.node'))) {
    const bytes = readFileSync(path);
    for (let at = bytes.indexOf(home); at !== -1; at = bytes.indexOf(home, at)) bytes.write('cargo'.padEnd(home.length, '_'), at, 'latin1');
    writeFileSync(path, bytes);
  }
  for (const path of filesIn(pack)) {
    const bytes = readFileSync(path);
    const place = [process.cwd(), home].find((place) => bytes.includes(place));
    if (place !== undefined) refuse(`${path} names ${place}, which is not there on other machines. Build it without.`);
  }
}

process.chdir(fileURLToPath(new URL('..', import.meta.url)));
if (process.platform !== 'linux' || process.arch !== 'x64')
  refuse(`this is ${process.platform}-${process.arch}, but the pack holds this machine's Node and engine for linux-x64. Run it there.`);
rmSync(pack, { recursive: true, force: true });
mkdirSync(pack, { recursive: true });
addPackages();
await addPrograms();
addPeers();
forgetPaths();
addNode();
copyFileSync('tools/gpu/run.sh', `${pack}/run.sh`);
chmodSync(`${pack}/run.sh`, 0o755);
const mebibytes = filesIn(pack).reduce((total, path) => total + statSync(path).size, 0) / 2 ** 20;
if (mebibytes > limitMiB)
  refuse(`${pack} has ${mebibytes.toFixed(1)} MiB, more than ${limitMiB}. Leave something out, or pack Node tighter.`);
console.log(`gpu-pack: ${pack}, ${mebibytes.toFixed(1)} MiB. Copy it to a machine with a GPU, and there: sh run.sh --part 1 --out results`);
