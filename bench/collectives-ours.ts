// One rank of our side of the bench `collectives`: node collectives-ours.ts <socket>
import { allGather, allReduce, type AnyTensor, exchange, initializeModelParallel, reduceScatter, scope, tensor } from '@megatron-ts/core';
import { once } from 'node:events';
import { createConnection } from 'node:net';
import { createInterface } from 'node:readline';
import { runQueueWait } from './process-measures.ts';

const [path = ''] = process.argv.slice(2);
await using ctx = await initializeModelParallel({ backend: 'auto' });
const group = ctx.world;
const socket = createConnection(path);
await once(socket, 'connect');
socket.write(`${JSON.stringify({ rank: group.rank, who: `ours (${process.env['MEGATRON_BACKEND'] ?? 'shm'})` })}\n`);

/** What one operation on buffers of `value` does; returns its result. */
function operationOf(op: string, bytes: number, value: number): () => AnyTensor {
  const filled = (count: number) => tensor(new Float32Array(count).fill(value), [count]);
  const [whole, part] = [filled(bytes / 4), filled(bytes / 4 / group.size)];
  const next = { peer: (group.rank + 1) % group.size, tensor: whole };
  const last = { peer: (group.rank + group.size - 1) % group.size, tensor: filled(bytes / 4) };
  const operations: Record<string, () => AnyTensor> = {
    allReduce: () => allReduce(whole, { group }).wait(),
    allGather: () => allGather(part, { group }).wait(),
    reduceScatter: () => reduceScatter(whole, { group }).wait(),
    exchange: () => exchange({ group, sends: [next], receives: [last] }).wait()[0] ?? whole,
  };
  const operation = operations[op];
  if (operation === undefined) throw new Error(`bench: there is no collective "${op}".`);
  return operation;
}

/** Microseconds per operation, after all ranks have met. */
function turn(op: string, bytes: number, repeats: number): object {
  const value = scope(() => operationOf(op, bytes, 1)().toArray()[0]);
  return scope(() => {
    // Zeros stay zeros, however often they are added up.
    const operation = operationOf(op, bytes, 0);
    scope(() => void operation());
    const waited = runQueueWait();
    const started = performance.now();
    for (let repeat = 0; repeat < repeats; repeat++) scope(() => void operation());
    const ms = performance.now() - started;
    return { us: (ms * 1000) / repeats, wait: ((runQueueWait() - waited) * 1000) / ms, value };
  });
}

for await (const line of createInterface({ input: socket })) {
  const [op = '', bytes = '', repeats = ''] = line.split(' ');
  socket.write(`${JSON.stringify(turn(op, Number(bytes), Number(repeats)))}\n`);
}
