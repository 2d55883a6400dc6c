// The rank named first fails as named second; the others ignore SIGTERM and would stay for ever.
import { spawn } from 'node:child_process';
import { mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';

const [culprit, how] = process.argv.slice(2);
console.log(`pid ${process.pid}`);
process.on('SIGTERM', () => console.log('will not go'));
setInterval(() => undefined, 1000);
const grandchild = spawn(process.execPath, ['-e', 'setInterval(() => undefined, 1000)'], { stdio: 'inherit' });
console.log(`pid ${grandchild.pid}`);

// The culprit waits for the others, so that all are there to be ended.
const folder = join(tmpdir(), `megatron-fail-${process.env.MEGATRON_JOB}`);
if (culprit !== 'none') mkdirSync(folder, { recursive: true });
if (culprit !== 'none') writeFileSync(join(folder, String(process.env.RANK)), '');
while (process.env.RANK === culprit && readdirSync(folder).length < Number(process.env.WORLD_SIZE)) await setTimeout(20);

if (process.env.RANK === culprit) {
  rmSync(folder, { recursive: true });
  await setTimeout(300); // what the others printed arrives first
  if (how === 'throw') throw new RangeError('no room left');
  if (how === 'exit') {
    console.error('giving up');
    process.exit(7);
  }
  process.kill(process.pid, 'SIGKILL');
}
