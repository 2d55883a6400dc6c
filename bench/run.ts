// npm run bench -- <name> [options]
import { parseArgs } from 'node:util';
import { collectives } from './collectives.ts';
import { memory } from './memory.ts';
import { ops } from './ops.ts';
import { overhead } from './overhead.ts';
import { overlap } from './overlap.ts';
import { formatReport, type Report, saveReport } from './report.ts';
import { train } from './train.ts';
import { trainParallel } from './train-parallel.ts';

const usage = `npm run bench -- <name> [--json] [--save]

  train     a single-rank GPT step beside PyTorch, alternating
              --model small|gpt2|tiny  shapes; small by default
              --dtype f32|bf16     what products are computed in; f32 by default
              --compile            also beside compiled PyTorch, which takes a minute to compile
              --threads N          threads of each side; all cores by default
              --pairs N            undisturbed pairs; 15 by default
  train-parallel  a GPT step of two ranks of one thread beside PyTorch with gloo: tensor parallel, then data parallel
              --model small|gpt2|tiny  shapes; small by default
              --pairs N            undisturbed rounds of each row; 15 by default
  ops       every operation beside PyTorch's
              --dtype f32|bf16     operands; f32 by default
              --only TEXT          rows whose name holds the text
              --threads N          threads of each side; all cores by default
              --pairs N            undisturbed pairs of each row; 7 by default
  collectives  all-reduce, all-gather, reduce-scatter and exchange of 2 and 4 ranks, beside gloo and each installed MPI
              --pairs N            undisturbed rounds of each row; 9 by default
              --ranks N            worlds of this size alone
  overlap   how much of a column-parallel layer's communication in backward is hidden behind its products, on two ranks
              --pairs N            rounds of each row; 9 by default
  overhead  microseconds per operation on tensors of four numbers, beside PyTorch
  memory    live bytes by use, requests to the system and page faults of a GPT's steps 10 to 500
              --model tiny|small   shapes; tiny by default

  --json    one object instead of a table
  --save    also into bench/results

Each row is told on standard error as soon as it is known. PyTorch lives in build/bench-python, made when it is first needed;
MEGATRON_BENCH_PYTHON names another interpreter.`;

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    json: { type: 'boolean', default: false },
    save: { type: 'boolean', default: false },
    compile: { type: 'boolean', default: false },
    model: { type: 'string' },
    dtype: { type: 'string' },
    only: { type: 'string' },
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

function oneOf<const W extends string>(option: string, text: string, allowed: readonly W[]): W {
  const word = allowed.find((own) => own === text);
  if (word !== undefined) return word;
  throw new Error(`bench: --${option} is ${JSON.stringify(text)}. Use ${allowed.join(' or ')}.`);
}

/** The options that are given, under their names. */
const numbers = () => ({
  ...(values.threads === undefined ? {} : { threads: wholeNumber('threads', values.threads) }),
  ...(values.pairs === undefined ? {} : { pairs: wholeNumber('pairs', values.pairs) }),
  ...(values.dtype === undefined ? {} : { dtype: oneOf('dtype', values.dtype, ['f32', 'bf16']) }),
});

const benches: Readonly<Record<string, () => Promise<Report>>> = {
  train: () => train({ model: values.model ?? 'small', compile: values.compile, ...numbers() }),
  'train-parallel': () => trainParallel({ model: values.model ?? 'small', ...numbers() }),
  ops: () => ops({ ...(values.only === undefined ? {} : { only: values.only }), ...numbers() }),
  collectives: () => collectives({ ...(values.ranks === undefined ? {} : { sizes: [wholeNumber('ranks', values.ranks)] }), ...numbers() }),
  overlap: () => overlap(numbers()),
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
