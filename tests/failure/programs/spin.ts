// Steps for ever and never yields to the event loop.
import { initializeModelParallel } from '@megatron-ts/core';
import { writeSync } from 'node:fs';

const ctx = await initializeModelParallel();
for (let n = 0; ; n++) {
  ctx.step(n, () => undefined);
  if (n === 10) writeSync(1, `pid ${process.pid}\n`);
}
