// The program of a rank that is a thread of its test's process: it calls the function its test names and sends back what it returns.
import { parentPort, workerData } from 'node:worker_threads';
import { answerCall, type RankCall } from './rank-call.ts';

parentPort?.postMessage(await answerCall(workerData as RankCall));
