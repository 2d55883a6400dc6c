// Our side of `npm run bench -- overhead`: many passes through the chain each turn; the value is microseconds per operation.
import { evaluate, scope } from '@megatron-ts/core';
import { engine } from '@megatron-ts/tensor';
import { backwardOps, chain, chainInput, engineCalls, forwardOps } from './chain.ts';
import { takeTurns } from './take-turns.ts';

const repeats = 50;
const kind = process.argv[2];
engine.setThreads(1);
const x = chainInput();

const turns: Readonly<Record<string, () => number>> = {
  forward: () => perOp(forwardOps, () => evaluate(() => void chain(x))),
  both: () =>
    perOp(forwardOps + backwardOps, () =>
      scope(() => {
        chain(x).backward();
        x.zeroGrad();
      }),
    ),
  engine: () => perOp(engineCalls(x), () => void engineCalls(x)),
};

function perOp(operations: number, pass: () => void): number {
  const started = performance.now();
  for (let i = 0; i < repeats; i++) pass();
  return ((performance.now() - started) * 1000) / (repeats * operations);
}

const turn = turns[kind ?? ''];
if (turn === undefined) throw new Error(`bench: there is no turn "${kind}". Use ${Object.keys(turns).join(', ')}.`);
await takeTurns('megatron-ts', turn);
