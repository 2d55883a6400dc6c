// Compiles every CUDA kernel in every variant for each generation of GPUs by NVRTC, without a GPU. A warning fails, and so does a
// register spilled to memory outside attention, or a table of registers that is not the committed one.
//   --write   writes the table, crates/kernels/src/cuda/registers.md
import { spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { fileURLToPath } from 'node:url';
import { pythonWithNvrtc, version } from './cuda-check/nvrtc.mjs';
import { resourcesOf } from './cuda-check/resources.mjs';

const architectures = ['sm_80', 'sm_90a', 'sm_100a'];
const sources = 'build/cuda-sources';
const results = 'build/nvrtc/results';
const table = 'crates/kernels/src/cuda/registers.md';

function refuse(sentence) {
  console.error(`cuda-check: ${sentence}`);
  process.exit(1);
}

/** The units of the Rust table in their variants. */
function units() {
  const args = ['run', '--quiet', '--package', 'megatron-kernels', '--example', 'cuda_sources', '--', sources];
  const { status } = spawnSync('cargo', args, { stdio: ['ignore', 'inherit', 'inherit'] });
  if (status !== 0) refuse('cargo cannot write the CUDA text; see above.');
  const lines = readFileSync(`${sources}/index.tsv`, 'utf8').trim().split('\n');
  return lines.map((line) => {
    const [file, unit, variant, options, minimum, kernels] = line.split('\t');
    return {
      file: `${sources}/${file}`,
      unit,
      variant,
      options: options.split(' '),
      minimum: Number(minimum),
      kernels: kernels.split(' '),
    };
  });
}

/** One compilation for each unit and architecture that can run it; its key is the hash of all that decides the result. */
function compilations() {
  return units().flatMap((unit) =>
    architectures
      .filter((architecture) => Number(/\d+/.exec(architecture)[0]) >= unit.minimum)
      .map((architecture) => {
        const options = [...unit.options, `--gpu-architecture=${architecture}`, '--ptxas-options=-v'];
        const key = createHash('sha256')
          .update([version, readFileSync(unit.file), ...options].join('\0'))
          .digest('hex')
          .slice(0, 32);
        return { ...unit, architecture, options, key };
      }),
  );
}

const resultOf = (key) => `${results}/${key}.json`;

/** Compiles some of them in one process of Python; each result is kept as it comes. */
function compile(python, jobs) {
  return new Promise((resolve) => {
    const child = spawn(python, ['tools/cuda-check/compile.py'], { stdio: ['pipe', 'pipe', 'inherit'] });
    let rest = '';
    child.stdout.setEncoding('utf8').on('data', (text) => {
      const lines = (rest + text).split('\n');
      rest = lines.pop();
      for (const line of lines) {
        const { key, ...result } = JSON.parse(line);
        writeFileSync(`${resultOf(key)}.${process.pid}`, JSON.stringify(result));
        renameSync(`${resultOf(key)}.${process.pid}`, resultOf(key));
      }
    });
    child.on('close', resolve);
    child.stdin.end(JSON.stringify(jobs.map(({ key, file, options }) => ({ key, file, options }))));
  });
}

/** The rows of the table, and the faults, of all compilations. */
function judge(all) {
  const faults = [];
  const rows = new Map();
  for (const { unit, variant, architecture, kernels, key } of all) {
    const what = `${unit} ${variant} for ${architecture}`;
    const { ok, log } = existsSync(resultOf(key))
      ? JSON.parse(readFileSync(resultOf(key), 'utf8'))
      : { ok: false, log: 'the compiler died.' };
    const { kernels: found, warnings } = resourcesOf(log);
    if (!ok || warnings.length > 0) faults.push(`${what}: ${warnings.join('\n')}`);
    for (const kernel of kernels) {
      const { registers, stack, spill, shared } = found[kernel] ?? {};
      if (ok && registers === undefined) faults.push(`${what}: there is no kernel ${kernel}.`);
      if (spill + stack > 0 && !unit.startsWith('attention'))
        faults.push(`${what}: ${kernel} keeps ${stack} bytes on the stack and moves ${spill} bytes of spilled registers. Use fewer.`);
      const row = `| ${kernel} | ${variant} |`;
      const spilled = spill > 0 ? `, ${spill} bytes spilled` : '';
      rows.set(row, [...(rows.get(row) ?? []), `${registers}${shared > 0 ? ` + ${shared}` : ''}${spilled}`]);
    }
  }
  return { faults, rows };
}

function pageOf(rows) {
  const lines = [...rows].map(([row, cells]) => `${row} ${cells.join(' | ')} |`);
  return [
    '# Registers of the CUDA kernels',
    '',
    `Written by \`node tools/cuda-check.mjs --write\`, which compiles every kernel with NVRTC ${version}: registers of a thread, and bytes of`,
    'static shared memory of a block where there are some. Spilled registers are named; the check allows them to attention alone, whose',
    'accumulators fill the register file.',
    '',
    `| kernel | variant | ${architectures.join(' | ')} |`,
    `| --- | --- | ${architectures.map(() => '---').join(' | ')} |`,
    ...lines,
    '',
  ].join('\n');
}

process.chdir(fileURLToPath(new URL('..', import.meta.url)));
const started = performance.now();
let python;
try {
  python = pythonWithNvrtc();
} catch (error) {
  refuse(error.message);
}
mkdirSync(results, { recursive: true });
const all = compilations();
const missing = all.filter(({ key }) => !existsSync(resultOf(key)));
const workers = Math.min(availableParallelism(), missing.length);
await Promise.all(
  Array.from({ length: workers }, (_, worker) =>
    compile(
      python,
      missing.filter((_, at) => at % workers === worker),
    ),
  ),
);
const { faults, rows } = judge(all);
const page = pageOf(rows);
if (process.argv.includes('--write')) writeFileSync(table, page);
else if (!existsSync(table) || readFileSync(table, 'utf8') !== page)
  faults.push(`${table} is not what the kernels are now. Run node tools/cuda-check.mjs --write, and look at the difference.`);
for (const fault of faults) console.error(fault);
const seconds = ((performance.now() - started) / 1000).toFixed(1);
console.log(`cuda-check: ${all.length} compilations, ${missing.length} of them new, ${faults.length} faults, ${seconds} s`);
process.exitCode = faults.length > 0 ? 1 : 0;
