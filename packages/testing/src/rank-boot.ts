// The program of a rank that is a process: it calls the function its test names and sends back what it returns.
import { once } from 'node:events';
import { answerCall, type RankCall } from './rank-call.ts';

const [call] = (await once(process, 'message')) as [RankCall];
const message = await answerCall(call);
await new Promise<void>((resolve, reject) => {
  process.send?.(message, undefined, undefined, (error) => (error === null ? resolve() : reject(error)));
});
process.disconnect();
