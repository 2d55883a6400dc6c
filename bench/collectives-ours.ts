// One rank of our side of the bench `collectives`: node collectives-ours.ts <socket>
import { allGather, allReduce, type AnyTensor, exchange, initializeModelParallel, reduceScatter, scope, tensor } from '@megatron-ts/core';
import { takeRankTurns } from './rank-turns.ts';

const [path = ''] = process.argv.slice(2);
await using ctx = await initializeModelParallel({ backend: 'auto' });
const group = ctx.world;

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

await takeRankTurns(path, { rank: group.rank, who: `ours (${process.env['MEGATRON_BACKEND'] ?? 'shm'})` }, ([op = '', bytes], clock) => {
  const size = Number(bytes);
  const value = scope(() => operationOf(op, size, 1)().toArray()[0] ?? Number.NaN);
  scope(() => {
    // Zeros stay zeros, however often they are added up.
    const operation = operationOf(op, size, 0);
    scope(() => void operation());
    clock(() => scope(() => void operation()));
  });
  return value;
});
