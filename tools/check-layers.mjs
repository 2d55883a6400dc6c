// Every import of a room is in its manifest, and stays inside the room or goes to a lower floor; crates likewise.
// budget.json lists the floors upwards.
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { builtinModules } from 'node:module';
import { join } from 'node:path';
import ts from 'typescript';

const scope = '@megatron-ts/';
const read = (path) => JSON.parse(readFileSync(path, 'utf8'));
const { floors, crates } = read('budget.json');
const faults = [];

/** Packages a room may import. What core bundles, it has as devDependencies. */
function allowedFor(room, { dependencies, peerDependencies, devDependencies }) {
  return { ...dependencies, ...peerDependencies, ...(room === 'core' ? devDependencies : {}) };
}

function checkImport(room, { file, specifier, allowed }) {
  if (specifier.startsWith('.')) {
    const target = join(file, '..', specifier).replaceAll('\\', '/');
    if (!target.startsWith(`packages/${room}/`))
      faults.push(`${file}: imports ${specifier}, which lies outside the room. Import the package.`);
    return;
  }
  if (specifier.startsWith('node:') || builtinModules.includes(specifier)) return;
  const name = specifier
    .split('/')
    .slice(0, specifier.startsWith('@') ? 2 : 1)
    .join('/');
  if (!(name in allowed)) faults.push(`${file}: imports ${name}, which is not in the room's dependencies. Add it or move the code.`);
}

function checkRoom(room) {
  const manifest = `packages/${room}/package.json`;
  const allowed = allowedFor(room, read(manifest));
  if (!floors.includes(room)) faults.push(`packages/${room}: has no floor. Add it to budget.json.`);
  for (const name of Object.keys(allowed).filter((name) => name.startsWith(scope))) {
    if (floors.indexOf(name.slice(scope.length)) < floors.indexOf(room)) continue;
    faults.push(`${manifest}: ${name} is not on a lower floor. Remove the dependency.`);
  }
  const source = `packages/${room}/src`;
  if (!existsSync(source)) return;
  for (const name of readdirSync(source, { recursive: true }).filter((name) => name.endsWith('.ts'))) {
    const file = `${source}/${name.replaceAll('\\', '/')}`;
    const { importedFiles } = ts.preProcessFile(readFileSync(file, 'utf8'), true, true);
    for (const { fileName } of importedFiles) checkImport(room, { file, specifier: fileName, allowed });
  }
}

/** A crate names the others by the keys of the workspace's dependencies. */
function checkCrate(crate) {
  if (!crates.includes(crate)) faults.push(`crates/${crate}: has no floor. Add it to budget.json.`);
  const manifest = readFileSync(`crates/${crate}/Cargo.toml`, 'utf8');
  for (const other of crates) {
    if (!new RegExp(`^${other}(\\.workspace)? = `, 'm').test(manifest) || crates.indexOf(other) < crates.indexOf(crate)) continue;
    faults.push(`crates/${crate}/Cargo.toml: ${other} is not on a lower floor. Remove the dependency.`);
  }
}

/** Examples and measurements stand on the roof and use what users have, or what their manifests name. */
function checkWorkspace(folder) {
  const { dependencies } = read(`${folder}/package.json`);
  for (const name of readdirSync(folder).filter((name) => name.endsWith('.ts'))) {
    const { importedFiles } = ts.preProcessFile(readFileSync(`${folder}/${name}`, 'utf8'), true, true);
    for (const { fileName: specifier } of importedFiles) {
      if (specifier.startsWith('.') || specifier.startsWith('node:')) continue;
      const target = specifier
        .split('/')
        .slice(0, specifier.startsWith('@') ? 2 : 1)
        .join('/');
      if (!(target in dependencies))
        faults.push(`${folder}/${name}: imports ${target}, which ${folder}/package.json does not name. Add it.`);
    }
  }
}

const holding = (top, manifest) => readdirSync(top).filter((name) => existsSync(`${top}/${name}/${manifest}`));
for (const room of holding('packages', 'package.json')) checkRoom(room);
for (const crate of holding('crates', 'Cargo.toml')) checkCrate(crate);
for (const folder of ['examples', 'bench']) checkWorkspace(folder);
for (const fault of faults) console.error(fault);
process.exitCode = faults.length > 0 ? 1 : 0;
