// Writes each room's tsconfig.json, the root's and that of the leaves from the manifests, so that they cannot differ. `--check` only compares.
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';

const check = process.argv.includes('--check');
const manifestOf = (room) => JSON.parse(readFileSync(`packages/${room}/package.json`, 'utf8'));
const folders = readdirSync('packages')
  .filter((room) => existsSync(`packages/${room}/package.json`))
  .sort();
const manifests = new Map(folders.map((room) => [room, manifestOf(room)]));

/** Whether a room is compiled here: its manifest names a TypeScript source. */
const isSource = (room) => '@megatron-ts/source' in (manifests.get(room)?.exports?.['.'] ?? {});
const rooms = folders.filter(isSource);

function referencesOf({ dependencies, devDependencies }) {
  const names = Object.keys({ ...dependencies, ...devDependencies }).filter((name) => name.startsWith('@megatron-ts/'));
  return names
    .map((name) => name.slice('@megatron-ts/'.length))
    .filter(isSource)
    .sort();
}

const configs = new Map(
  rooms.map((room) => [
    `packages/${room}/tsconfig.json`,
    {
      extends: '../../tsconfig.base.json',
      compilerOptions: { rootDir: 'src', outDir: `../../build/types/${room}`, tsBuildInfoFile: `../../build/types/${room}.tsbuildinfo` },
      include: ['src'],
      references: referencesOf(manifests.get(room)).map((path) => ({ path: `../${path}` })),
    },
  ]),
);
const toRooms = rooms.map((room) => ({ path: `packages/${room}` }));
configs.set('tsconfig.json', { files: [], references: [...toRooms, { path: 'tsconfig.leaves.json' }] });
configs.set('tsconfig.leaves.json', {
  extends: './tsconfig.base.json',
  compilerOptions: { outDir: 'build/types/leaves', tsBuildInfoFile: 'build/types/leaves.tsbuildinfo', rootDir: '.' },
  include: ['examples/**/*.ts', 'bench/**/*.ts', 'tests/**/*.ts', 'packages/*/test/**/*.ts', 'tools/**/*.ts', '*.config.ts'],
  references: toRooms,
});

let stale = 0;
for (const [path, config] of configs) {
  const text = `${JSON.stringify(config, null, 2)}\n`;
  if (existsSync(path) && readFileSync(path, 'utf8') === text) continue;
  if (!check) writeFileSync(path, text);
  else console.error(`${path}: differs from the manifests. Run node tools/write-references.mjs.`);
  stale++;
}
process.exitCode = check && stale > 0 ? 1 : 0;
