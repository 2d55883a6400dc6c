// Makes a clone ready to work: Node, npm packages, Rust, engine. It runs before npm ci, so nothing here has dependencies.
//   --packages-only      stops after the npm packages
//   --check-toolchain    only says whether the engine could be built
import { fileURLToPath } from 'node:url';
import { buildEngine } from './setup/engine.mjs';
import { installPackages } from './setup/packages.mjs';
import { refuse } from './setup/refuse.mjs';
import { checkToolchain } from './setup/toolchain.mjs';
import { takeTurn } from './setup/turn.mjs';

function checkNode() {
  const [major, minor] = process.versions.node.split('.').map(Number);
  if (major < 20 || (major === 20 && minor < 19)) refuse(`Node ${process.versions.node} is too old. Install Node 20.19 or newer.`);
}

process.chdir(fileURLToPath(new URL('..', import.meta.url)));
const started = performance.now();
checkNode();
if (process.argv.includes('--check-toolchain')) {
  checkToolchain();
} else {
  takeTurn();
  const steps = process.argv.includes('--packages-only') ? [installPackages] : [installPackages, buildEngine];
  const done = steps.map((step) => step()).filter((sentence) => sentence !== undefined);
  if (done.length > 0) console.log(`setup: ${done.join(', ')} in ${((performance.now() - started) / 1000).toFixed(0)} s.`);
}
