// The program of a rank in a test: it calls the function its test names and sends back what it returns.
import { once } from 'node:events';
import { ConfigError } from '@megatron-ts/errors';
import type { RankCall, RankReturn } from './rank-message.ts';

const [{ moduleUrl, exportName, args }] = (await once(process, 'message')) as [RankCall];
const room = (await import(moduleUrl)) as Record<string, unknown>;
const run = room[exportName];
if (typeof run !== 'function') {
  const names = Object.keys(room).join(', ') || 'nothing';
  throw new ConfigError('INVALID_OPTION', `runRanks: ${moduleUrl} exports no function ${exportName}, but ${names}. Export it.`);
}
const message: RankReturn = { value: await (run as (...args: readonly unknown[]) => unknown)(...args) };
await new Promise<void>((resolve, reject) => {
  process.send?.(message, undefined, undefined, (error) => (error === null ? resolve() : reject(error)));
});
process.disconnect();
