// npm run bench -- <name> [--json] [--save] [--model small] [--compile] [--threads N] [--pairs N]
import { parseArgs } from 'node:util';
import { collectives } from './collectives.ts';
import { memory } from './memory.ts';
import { overhead } from './overhead.ts';
import { formatReport, type Report, saveReport } from './report.ts';
import { train } from './train.ts';

const usage = `npm run bench -- <name> [--json] [--save]

  train     a single-rank GPT step beside PyTorch, alternating
              --model small|tiny   shapes; small by default
              --compile            also beside compiled PyTorch, which takes a minute to compile
              --threads N          threads of each side; all cores by default
              --pairs N            undisturbed pairs; 15 by default
  collectives  all-reduce, all-gather, reduce-scatter and exchange of 2 and 4 ranks, beside gloo and each installed MPI
              --pairs N            undisturbed rounds of each row; 9 by default
              --ranks N            worlds of this size alone
  overhead  microseconds per operation on tensors of four numbers, beside PyTorch
  memory    live bytes by use, requests to the system and page faults of a GPT's steps 10 to 500
              --model tiny|small   shapes; tiny by default

  --json    one object instead of a table
  --save    also into bench/results

PyTorch lives in build/bench-python, made when it is first needed; MEGATRON_BENCH_PYTHON names another interpreter.`;

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    json: { type: 'boolean', default: false },
    save: { type: 'boolean', default: false },
    compile: { type: 'boolean', default: false },
    model: { type: 'string' },
    threads: { type: 'string' },
    pairs: { type: 'string' },
    ranks: { type: 'string' },
  },
});

function wholeNumber(option: string, text: string): number {
  const value = Number(text);
  if (Number.isInteger(value) && value >= 1) return value;
  throw new Error(`bench: --${option} is ${JSON.stringify(text)}, not a whole number of at least 1. Give one.`);
}

const benches: Readonly<Record<string, () => Promise<Report>>> = {
  train: () =>
    train({
      model: values.model ?? 'small',
      compile: values.compile,
      ...(values.threads === undefined ? {} : { threads: wholeNumber('threads', values.threads) }),
      ...(values.pairs === undefined ? {} : { pairs: wholeNumber('pairs', values.pairs) }),
    }),
  collectives: () =>
    collectives({
      ...(values.pairs === undefined ? {} : { pairs: wholeNumber('pairs', values.pairs) }),
      ...(values.ranks === undefined ? {} : { sizes: [wholeNumber('ranks', values.ranks)] }),
    }),
  overhead,
  memory: () => memory(values.model ?? 'tiny'),
};

const bench = benches[positionals[0] ?? ''];
if (bench === undefined) {
  console.error(positionals.length === 0 ? usage : `bench: there is no "${positionals[0]}". Use ${Object.keys(benches).join(', ')}.`);
  process.exitCode = 2;
} else {
  try {
    const report = await bench();
    console.log(values.json ? JSON.stringify(report) : formatReport(report));
    if (values.save) process.stderr.write(`bench: saved in ${saveReport(report)}\n`);
  } catch (error) {
    console.error((error as Error).message);
    process.exitCode = 1;
  }
}
