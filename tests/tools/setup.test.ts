import { spawnSync } from 'node:child_process';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';

let tools = '';

beforeEach(() => {
  tools = mkdtempSync(join(tmpdir(), 'megatron-path-'));
});

afterEach(() => rmSync(tools, { recursive: true }));

/** Puts a program on the path that prints one line. */
function install(name: string, prints: string): void {
  writeFileSync(join(tools, name), `#!/bin/sh\necho '${prints}'\n`);
  chmodSync(join(tools, name), 0o755);
}

function checkToolchain() {
  const { status, stderr } = spawnSync(process.execPath, ['tools/setup.mjs', '--check-toolchain'], {
    env: { PATH: tools },
    encoding: 'utf8',
  });
  return { status, stderr };
}

describe.runIf(process.platform !== 'win32')('npm run setup', () => {
  it('asks for cargo where there is none', () => {
    expect(checkToolchain()).toEqual({
      status: 1,
      stderr: 'setup: cargo is missing. Install Rust 1.89 or newer from https://rustup.rs.\n',
    });
  });

  it('asks for a newer Rust', () => {
    install('cargo', 'cargo 1.80.0');
    install('rustc', 'rustc 1.80.0 (051478957 2024-07-21)');
    expect(checkToolchain()).toEqual({
      status: 1,
      stderr: 'setup: rustc 1.80.0 (051478957 2024-07-21) is too old. Run rustup update, for Rust 1.89 or newer.\n',
    });
  });

  it('asks for a linker where there is none', () => {
    install('cargo', 'cargo 1.95.0');
    install('rustc', 'rustc 1.95.0');
    expect(checkToolchain()).toEqual({ status: 1, stderr: 'setup: a C linker (cc) is missing. Install gcc or clang.\n' });
  });

  it('is content with what it needs', () => {
    install('cargo', 'cargo 1.95.0');
    install('rustc', 'rustc 1.95.0');
    install('cc', 'cc 12.2.0');
    expect(checkToolchain()).toEqual({ status: 0, stderr: '' });
  });
});
