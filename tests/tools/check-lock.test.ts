import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';

/** What tools/check-lock.mjs says of a lock with these packages. */
function check(packages: Record<string, object>) {
  const folder = mkdtempSync(join(tmpdir(), 'megatron-lock-'));
  const path = join(folder, 'lock.json');
  writeFileSync(path, JSON.stringify({ packages }));
  const { status, stderr } = spawnSync(process.execPath, ['tools/check-lock.mjs', path], { encoding: 'utf8' });
  rmSync(folder, { recursive: true });
  return { status, stderr: stderr.replaceAll(path, 'lock') };
}

const integrity = 'sha512-x';

describe('check-lock', () => {
  it('accepts a lock in which every optional dependency has an entry, nested or not', () => {
    const inner = {
      'node_modules/a': { optionalDependencies: { b: '1', c: '1' }, integrity },
      'node_modules/a/node_modules/b': { integrity },
    };
    expect(check({ '': {}, ...inner, 'node_modules/c': { integrity } })).toEqual({ status: 0, stderr: '' });
  });

  it('refuses a lock that lacks the binary of another platform', () => {
    expect(check({ '': {}, 'node_modules/a': { optionalDependencies: { 'a-darwin': '1' }, integrity } })).toEqual({
      status: 1,
      stderr: 'lock: node_modules/a wants a-darwin, which has no entry. Raise min-release-age in .npmrc and run npm install again.\n',
    });
  });

  it('refuses a lock that names a host, or that does not say what it wants', () => {
    const { status, stderr } = check({ 'node_modules/a': { resolved: 'https://host/a.tgz', integrity }, 'node_modules/b': {} });
    expect(status).toBe(1);
    expect(stderr).toContain('node_modules/a names a registry host.');
    expect(stderr).toContain('node_modules/b has no integrity.');
  });
});
