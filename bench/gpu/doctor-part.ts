import { spawnSync } from 'node:child_process';
import { availableParallelism, cpus, release, totalmem } from 'node:os';
import type { CudaDiagnosis } from '@megatron-ts/native';
import { here, type Part } from './part.ts';

/** Part 1: what this machine is and has, and whether the engine can use its device. */
export async function doctor(part: Part): Promise<void> {
  await part.row('machine', () => ({
    cpu: cpus()[0]?.model ?? 'unknown',
    cores: availableParallelism(),
    memoryGiB: totalmem() / 2 ** 30,
    kernel: release(),
    node: process.version,
  }));
  await part.row('nvidia-smi', () => {
    const fields = 'name,driver_version,memory.total,clocks.max.sm,clocks.max.mem,power.limit';
    return { device: printed('nvidia-smi', [`--query-gpu=${fields}`, '--format=csv,noheader']) };
  });
  await part.row('PyTorch', () => {
    const question =
      'import json, torch; print(json.dumps({"version": torch.__version__, "cuda": torch.version.cuda, "python": __import__("sys").version.split()[0], "nccl": str(torch.cuda.nccl.version()) if torch.cuda.is_available() else None, "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "none"}))';
    return JSON.parse(printed(part.settings.python, ['-c', question])) as object;
  });
  const worker = part.ours('ops-worker.js');
  const limit = () => Math.min(60_000, part.left);
  await part.row('libraries', async () => {
    const { libraries, devices, refusal } = await worker.ask<CudaDiagnosis>({ do: 'doctor' }, limit());
    for (const { name, ...library } of libraries) part.add({ name: `library ${name}`, ...library });
    if (refusal !== undefined) throw new Error(refusal);
    return { devices };
  });
  await part.row('megatron-ts doctor', () => {
    const cli = here('../node_modules/@megatron-ts/core/bin/megatron-ts.js');
    const { status, stdout, stderr } = spawnSync(process.execPath, [cli, 'doctor'], { encoding: 'utf8', timeout: limit() });
    if (status !== 0)
      throw new Error(`megatron-ts doctor ends with status ${status ?? 'none'}: ${stderr.trim() || stdout.trim().split('\n').at(-1)}`);
    return { status, text: stdout };
  });
  await part.row('the first kernel', async () => {
    const setting = { op: 'add', sizes: { rows: 64, cols: 64 }, dtype: 'f32', withBackward: false };
    const started = performance.now();
    await worker.ask({ do: 'once', setting }, limit());
    return { milliseconds: performance.now() - started };
  });
  await part.row('programs', () => {
    const lines = ['compute-sanitizer', 'nvcc', 'ncu', 'xz', 'zstd'].map((name) => [name, spawnSync(name, ['--version']).status === 0]);
    return Object.fromEntries(lines) as object;
  });
}

/** What a program prints. @throws Error when it is missing or fails */
function printed(program: string, args: readonly string[]): string {
  const { status, stdout, stderr, error } = spawnSync(program, args, { encoding: 'utf8', timeout: 60_000 });
  if (status === 0) return stdout.trim();
  const said = (stderr ?? '').trim().split('\n').at(-1);
  throw new Error(`${program} does not answer: ${error?.message ?? (said === '' ? `it ends with status ${status ?? 'none'}` : said)}.`);
}
