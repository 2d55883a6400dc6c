// Loaded by every rank before its program: it reports the error that ends the rank, and ends the rank when its launcher is gone.
import { rmSync } from 'node:fs';
import { dirname } from 'node:path';
import { reportVariable, writeReport } from './rank-report.ts';

const file = process.env[reportVariable];
const launcher = process.ppid;

if (file !== undefined) {
  process.on('uncaughtExceptionMonitor', (error) => {
    try {
      writeReport(file, error);
    } catch (fault) {
      process.stderr.write(`launch: the error report ${file} cannot be written (${String(fault)}).\n`);
    }
  });
}

// A program that never yields is watched by the engine instead.
setInterval(() => {
  if (process.ppid === launcher) return;
  if (file !== undefined) rmSync(dirname(file), { recursive: true, force: true });
  process.kill(process.pid, 'SIGKILL');
}, 500).unref();
