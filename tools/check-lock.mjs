// The lock is complete, free of hosts, and agrees with the manifests of the workspaces. One written soon after a release lacks the
// binaries of other platforms, and `npm ci` fails there.
import { existsSync, readFileSync } from 'node:fs';
import { isDeepStrictEqual } from 'node:util';

const path = process.argv[2] ?? 'package-lock.json';
const text = readFileSync(path, 'utf8');
const { packages } = JSON.parse(text);

/** Whether `name`, wanted by the package at `location`, has an entry in one of the folders where Node looks for it. */
function hasEntry(location, name) {
  const steps = location === '' ? [] : location.split('/node_modules/');
  const folders = steps.map((_, depth) => steps.slice(0, depth + 1).join('/node_modules/'));
  return [...folders.map((folder) => `${folder}/node_modules/${name}`), `node_modules/${name}`].some((entry) => entry in packages);
}

/** Whether a workspace's manifest wants what the lock says it wants. */
function agreesWithManifest(location, entry) {
  const manifest = `${location === '' ? '.' : location}/package.json`;
  if (location.includes('node_modules/') || path !== 'package-lock.json' || !existsSync(manifest)) return true;
  const wanted = JSON.parse(readFileSync(manifest, 'utf8'));
  return ['dependencies', 'devDependencies', 'optionalDependencies', 'peerDependencies'].every((kind) =>
    isDeepStrictEqual(wanted[kind] ?? {}, entry[kind] ?? {}),
  );
}

const faults = [];
for (const [location, entry] of Object.entries(packages)) {
  const { optionalDependencies = {}, link, integrity, resolved } = entry;
  if (!agreesWithManifest(location, entry)) faults.push(`${path}: differs from ${location || '.'}/package.json. Run npm install.`);
  for (const name of Object.keys(optionalDependencies)) {
    if (hasEntry(location, name)) continue;
    faults.push(
      `${path}: ${location || 'the root'} wants ${name}, which has no entry. Raise min-release-age in .npmrc and run npm install again.`,
    );
  }
  const fromRegistry = location.includes('node_modules/') && link !== true;
  if (fromRegistry && integrity === undefined) faults.push(`${path}: ${location} has no integrity. Remove the lock and run npm install.`);
  if (/^https?:/.test(resolved ?? '')) {
    faults.push(`${path}: ${location} names a registry host. Set omit-lockfile-registry-resolved=true in .npmrc and run npm install.`);
  }
}
for (const fault of faults) console.error(fault);
process.exitCode = faults.length > 0 ? 1 : 0;
