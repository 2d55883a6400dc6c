import { spawnSync } from 'node:child_process';
import { hashOf, readStamp, writeStamp } from './stamp.mjs';
import { refuse } from './refuse.mjs';

// It lies inside what it vouches for: removing node_modules removes it.
const stamp = 'node_modules/.megatron-lock-hash';

/** Runs `npm ci` when the lock differs from what node_modules was made from; says what it did. */
export function installPackages() {
  const hash = `${hashOf(['package.json', 'package-lock.json'])} ${process.version} ${process.platform}-${process.arch}`;
  if (readStamp(stamp) === hash) return undefined;
  console.log('setup: npm ci (about half a minute) …');
  const running = process.env.npm_execpath;
  const [command, args] = running?.endsWith('npm-cli.js') ? [process.execPath, [running]] : ['npm', []];
  const { status } = spawnSync(command, [...args, 'ci', '--no-fund', '--no-audit'], {
    stdio: 'inherit',
    // Its libraries for CUDA, from another host, are not needed. npm 11 asks package.json instead.
    env: { ...process.env, ONNXRUNTIME_NODE_INSTALL: 'skip' },
    shell: args.length === 0 && process.platform === 'win32',
  });
  if (status !== 0) refuse('npm ci failed; its message is above. Check the network and package-lock.json.');
  writeStamp(stamp, hash);
  return 'packages installed';
}
