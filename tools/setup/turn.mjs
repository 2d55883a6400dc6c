import { readFileSync, rmSync, writeFileSync } from 'node:fs';

const lock = '.setup-lock';

/** One set-up at a time: a second waits here, and then finds the work done. */
export function takeTurn() {
  for (let told = false; !tryLock(); told = true) {
    const owner = ownerOfLock();
    if (!isAlive(owner)) {
      rmSync(lock, { force: true });
      continue;
    }
    if (!told) console.log(`setup: waiting for process ${owner}, which sets up this folder …`);
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 200);
  }
  process.on('exit', () => rmSync(lock, { force: true }));
  for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => process.exit(1));
}

function tryLock() {
  try {
    writeFileSync(lock, String(process.pid), { flag: 'wx' });
    return true;
  } catch (error) {
    if (error.code === 'EEXIST') return false;
    throw error;
  }
}

function ownerOfLock() {
  try {
    return Number(readFileSync(lock, 'utf8'));
  } catch {
    return 0; // given back since we looked
  }
}

function isAlive(pid) {
  if (!(pid > 0)) return false;
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error.code === 'EPERM';
  }
}
