// The pack's program: runs one part, or writes the page of all. `run.sh` starts it.
import { resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { curves } from './curves-part.ts';
import { doctor } from './doctor-part.ts';
import { ops } from './ops-part.ts';
import { Part } from './part.ts';
import { ranks } from './ranks-part.ts';
import { report } from './report.ts';
import { sanitizer } from './sanitizer-part.ts';
import { speed } from './speed-part.ts';
import { steps } from './steps-part.ts';
import { usePython } from './python.ts';

/** What each part is called and does, by its number from 1. */
const parts: readonly (readonly [title: string, run: (part: Part) => Promise<void>])[] = [
  ['doctor', doctor],
  ['operations on the device beside the CPU and PyTorch', ops],
  ["a small GPT's losses on the device, the CPU and PyTorch", curves],
  ['compute-sanitizer', sanitizer],
  ['speed of operations beside PyTorch', speed],
  ['speed of training steps beside PyTorch', steps],
  ['several ranks on one device by NCCL, beside one', ranks],
];

/** Less than the nine minutes after which run.sh kills: rows that are begun end in time. */
const limitMs = 480_000;

const { values } = parseArgs({
  options: {
    part: { type: 'string' },
    out: { type: 'string', default: 'gpu-results' },
    only: { type: 'string', default: '' },
    tiny: { type: 'boolean', default: false },
    report: { type: 'boolean', default: false },
  },
});
const out = resolve(values.out);

if (values.report) process.stdout.write(`${report(out, parts.length)}\n`);
else {
  const number = Number(values.part);
  const [title, run] = parts[number - 1] ?? [];
  if (title === undefined || run === undefined) {
    process.stderr.write(`gpu-pack: --part is ${values.part ?? 'missing'}. Give a number from 1 to ${parts.length}, or --report.\n`);
    process.exit(2);
  }
  const isTiny = values.tiny || process.env['MEGATRON_GPU_TINY'] === '1';
  process.env['MEGATRON_DEVICE'] ??= 'cuda';
  const part = new Part(number, title, { out, isTiny, only: values.only, python: usePython(), limitMs });
  await run(part);
  const errors = await part.end();
  process.stdout.write(`part ${number} (${title}) is done; ${errors} rows were not done. ${out}/part-${number}.json\n`);
}
