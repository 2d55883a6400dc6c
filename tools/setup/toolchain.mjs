import { spawnSync } from 'node:child_process';
import { refuse } from './refuse.mjs';

const oldest = 89;

/** What `command --version` prints; undefined when it cannot be run. */
function versionOf(command) {
  const { stdout, status } = spawnSync(command, ['--version'], { encoding: 'utf8' });
  return status === 0 ? stdout.trim() : undefined;
}

/** Refuses when the engine could not be built: cargo, rustc >= 1.89, a C linker. */
export function checkToolchain() {
  if (versionOf('cargo') === undefined) refuse(`cargo is missing. Install Rust 1.${oldest} or newer from https://rustup.rs.`);
  const rustc = versionOf('rustc');
  const [, minor] = /^rustc 1\.(\d+)/.exec(rustc ?? '') ?? [];
  if (minor === undefined) refuse(`rustc is missing. Install Rust 1.${oldest} or newer from https://rustup.rs.`);
  if (Number(minor) < oldest) refuse(`${rustc} is too old. Run rustup update, for Rust 1.${oldest} or newer.`);
  if (process.platform !== 'win32' && versionOf('cc') === undefined) refuse('a C linker (cc) is missing. Install gcc or clang.');
}
