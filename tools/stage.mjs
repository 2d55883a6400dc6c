// Lays the packages out in build/stage as they are published: manifests without the source condition and without devDependencies.
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';

const source = '@megatron-ts/source';
const top = 'build/stage';

function readManifest(room) {
  return JSON.parse(readFileSync(`packages/${room}/package.json`, 'utf8'));
}

function writeManifest(folder, manifest) {
  writeFileSync(`${folder}/package.json`, `${JSON.stringify(manifest, null, 2)}\n`);
}

/** What is true of every package: the licence, and the page that tells what this is. */
function addPapers(folder) {
  for (const name of ['LICENSE', 'README.md'].filter((name) => existsSync(name))) cpSync(name, `${folder}/${name}`);
}

function stageRoom(room, additions = {}) {
  const folder = `${top}/${room}`;
  const { devDependencies: _, private: __, napi: ___, ...manifest } = readManifest(room);
  for (const target of Object.values(manifest.exports ?? {})) if (typeof target === 'object') delete target[source];
  for (const path of manifest.files) cpSync(`packages/${room}/${path}`, `${folder}/${path}`, { recursive: true });
  addPapers(folder);
  writeManifest(folder, { ...manifest, ...additions });
  return folder;
}

/** The addon of this machine, in the package that native wants for it. */
function stagePlatform(addon) {
  const { version, license, repository, engines } = readManifest('native');
  const platform = addon.split('.')[1];
  const folder = `${top}/native-${platform}`;
  mkdirSync(folder, { recursive: true });
  cpSync(`packages/native/${addon}`, `${folder}/${addon}`);
  addPapers(folder);
  const libc = process.platform === 'linux' ? { libc: [addon.includes('musl') ? 'musl' : 'glibc'] } : {};
  const name = `@megatron-ts/native-${platform}`;
  const description = `The engine of @megatron-ts/core for ${platform}.`;
  const place = { os: [process.platform], cpu: [process.arch], ...libc, main: addon, files: [addon] };
  writeManifest(folder, { name, version, description, license, repository, engines, ...place });
  return { folder, name, version };
}

/** Stages the packages for this machine; returns their folders, dependencies first. */
export function stage() {
  rmSync(top, { recursive: true, force: true });
  const addon = readdirSync('packages/native').find((name) => name.endsWith('.node'));
  if (addon === undefined) throw new Error('stage: packages/native has no engine. Run npm run setup.');
  const platform = stagePlatform(addon);
  const native = stageRoom('native', { optionalDependencies: { [platform.name]: platform.version } });
  return { platform: platform.folder, native, core: stageRoom('core'), onnx: stageRoom('onnx') };
}
