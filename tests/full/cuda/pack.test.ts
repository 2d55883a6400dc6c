import { execFileSync, spawn } from 'node:child_process';
import { cpSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { readPart, type Row } from '../../../bench/gpu/row-file.ts';
import { fakeMachine } from '../../cuda/play.ts';

const repository = fileURLToPath(new URL('../../../', import.meta.url));
/** Compiled kernels: kept, since a C++ compiler needs minutes for them. */
const hostKernels = join(repository, 'build', 'host-kernels');
/** The interpreter with PyTorch that the benches use, where there is one. */
const benchPython = process.env['MEGATRON_BENCH_PYTHON'] ?? join(repository, 'build', 'bench-python', 'bin', 'python');
const hasTorch = existsSync(benchPython);

/** What a fake device cannot do: instructions that only a GPU has, and products whose rows are no multiple of 16 bytes. */
const notOnFakes = /attention-(bf16|f16)-\d+: NVRTC .* does not compile it|CUBLAS_STATUS_NOT_SUPPORTED/;

/** The whole pack, from a folder that has nothing to do with this one, with an empty environment, on fake libraries. */
describe.runIf(process.platform === 'linux' && process.arch === 'x64')('the GPU pack on a fake device', () => {
  let machine: ReturnType<typeof fakeMachine>;
  let home: string;
  let env: Record<string, string>;
  const out = () => join(home, 'results');
  const args = (...more: string[]) => [join(home, 'pack', 'run.sh'), '--tiny', '--out', out(), ...more];
  const run = (...more: string[]) => execFileSync('/bin/sh', args(...more), { cwd: home, env, encoding: 'utf8', maxBuffer: 2 ** 26 });
  const rowsOf = (part: number): readonly Row[] => {
    run('--part', String(part));
    const { isWhole, rows } = readPart(out(), part) ?? { isWhole: false, rows: [] };
    expect(isWhole).toBe(true);
    return rows;
  };
  const undone = (rows: readonly Row[]) => rows.filter(({ error }) => error !== undefined);
  const rowOf = (rows: readonly Row[], name: string) => rows.find((row) => row.name === name) ?? { name };

  beforeAll(() => {
    execFileSync(process.execPath, ['tools/gpu-pack.mjs'], { cwd: repository });
    machine = fakeMachine();
    home = mkdtempSync(join(tmpdir(), 'megatron-gpu-pack-'));
    cpSync(join(repository, 'build', 'gpu-pack'), join(home, 'pack'), { recursive: true });
    env = {
      PATH: '/usr/bin:/bin',
      MEGATRON_CUDA_LIBS: machine.folder,
      MEGATRON_FAKE_CUDA: `run=${hostKernels} memory=1000000000 meet=${join(home, 'meet')}`,
      MEGATRON_CACHE: join(home, 'cache'),
      MEGATRON_PEER_DEVICE: 'cpu',
      ...(hasTorch ? { MEGATRON_PYTHON: benchPython, PYTHONPATH: fileURLToPath(new URL('stand-in', import.meta.url)) } : {}),
    };
  }, 900_000);
  afterAll(() => {
    machine.end();
    rmSync(home, { recursive: true, force: true });
  });

  it('1: the built package can use the device, and every library is told', () => {
    const rows = rowsOf(1);
    expect(rowOf(rows, 'libraries').error).toBeUndefined();
    expect(rowOf(rows, 'megatron-ts doctor')).toMatchObject({ status: 0 });
    expect(rows.filter(({ name, state }) => name.startsWith('library ') && state === 'found')).toHaveLength(7);
  }, 300_000);

  it('2: every operation has the numbers of the CPU and of PyTorch, and every kernel of the engine was among them', () => {
    const rows = rowsOf(2);
    const beside = (word: string) => rows.filter(({ name }) => name.endsWith(word));
    for (const { name, error } of undone(beside('/ CPU'))) expect(error, name).toMatch(notOnFakes);
    if (hasTorch) for (const { name, error } of undone(beside('/ PyTorch'))) expect(error, name).toMatch(notOnFakes);
    const done = rows.filter(({ error }) => error === undefined);
    expect(done.filter((row) => row['isClose'] !== true)).toEqual([]);
    expect(beside('/ CPU').filter((row) => Number(row['launches']) > 0).length).toBeGreaterThan(150);
    const byCudnn = done.filter((row) => Number(row['cudnnAttentions']) > 0).map(({ name }) => name);
    expect(byCudnn).toContain('attention twice the channels bf16 by cuDNN / CPU');
    expect(byCudnn).toContain('attention twice the channels bf16 by cuDNN in one order / CPU');
    // Tensor cores are not to be had: attention's other kernels are.
    const table = readFileSync(join(repository, 'crates', 'kernels', 'src', 'cuda', 'table.rs'), 'utf8');
    const units = [...table.matchAll(/^ {4}(\w+) in "/gm)].map(([, unit]) => unit).filter((unit) => unit !== 'attention');
    expect(units.length).toBeGreaterThan(25);
    expect(units.filter((unit) => !compiled().has(unit ?? ''))).toEqual([]);
  }, 900_000);

  it('3: a small GPT has the losses of the CPU and of PyTorch', () => {
    const rows = rowsOf(3);
    const apart = (name: string) => Number(rowOf(rows, `distance: ${name}`)['most']);
    // Products and sums over rows are made in another order.
    expect(apart('losses f32, device / losses f32, CPU')).toBeLessThan(1e-4);
    if (!hasTorch) return;
    expect(undone(rows)).toEqual([]);
    expect(apart('losses f32, device / losses f32, PyTorch')).toBeLessThan(1e-4);
    // bf16 keeps 8 bits, and PyTorch rounds at other places.
    expect(apart('losses bf16, device / losses bf16, PyTorch')).toBeLessThan(5e-3);
  }, 600_000);

  it('4: compute-sanitizer is asked where it is there, and else a row says that it is not', () => {
    const absent = rowsOf(4);
    expect(absent).toHaveLength(4);
    for (const { error } of absent) expect(error).toContain('compute-sanitizer is not on this machine');
    const stand = join(home, 'stand-in');
    // Takes the arguments of the real one; the program runs, and finds a fault under racecheck.
    const lines = ['#!/bin/sh', '[ "$1" = --version ] && exit 0', 'errors=0; [ "$2" = racecheck ] && errors=3', 'log=$4; shift 4'];
    writeFileSync(stand, [...lines, '"$@"; echo "========= ERROR SUMMARY: $errors errors" > "$log"', ''].join('\n'), { mode: 0o755 });
    env['MEGATRON_SANITIZER'] = stand;
    const rows = rowsOf(4);
    expect(undone(rows)).toEqual([]);
    expect(rows.map(({ name, ...row }) => [name, row['errors']])).toEqual([
      ['memcheck', 0],
      ['racecheck', 3],
      ['initcheck', 0],
      ['synccheck', 0],
    ]);
    for (const row of rows) expect(Number(row['ran'])).toBeGreaterThan(100);
  }, 900_000);

  it('5: every operation is timed on both sides, as a share of a copy', () => {
    const rows = rowsOf(5);
    expect(undone(rows)).toEqual([]);
    for (const row of rows) expect(Number(row['us']), row.name).toBeGreaterThan(0);
    if (hasTorch) for (const row of rows) expect(Number(row['peerUs']), `${row.name}: ${String(row['peerError'])}`).toBeGreaterThan(0);
    const shares = rows.filter((row) => row['gigabytesPerSecond'] !== undefined && row.name !== 'copy f32');
    expect(shares.length).toBeGreaterThan(25);
    for (const row of shares) expect(Number(row['shareOfCopy']), row.name).toBeGreaterThan(0);
  }, 600_000);

  it('6: steps are timed beside PyTorch', () => {
    const rows = rowsOf(6);
    for (const model of ['tiny GPT', 'tiny Llama']) {
      const { s, b, tokensPerSecond, mfu, flops, peakFlops, stepMs } = rowOf(rows, `${model}, ours`) as Record<string, number | undefined>;
      expect(tokensPerSecond).toBeCloseTo(((s ?? 0) * (b ?? 0) * 1000) / (stepMs ?? 0), 6);
      // Transformer Engine's layers, or their stand-in, make as many parameters; values are drawn, so losses are near and not the same.
      if (hasTorch) {
        const { parameters, lastLoss } = rowOf(rows, `${model}, ours`) as Record<string, number | undefined>;
        const engine = rowOf(rows, `${model}, Transformer Engine`) as Record<string, number | undefined>;
        expect(engine['parameters']).toBe(parameters);
        expect(Math.abs((engine['lastLoss'] ?? 0) - (lastLoss ?? 0))).toBeLessThan(0.5);
      }
      expect(rowOf(rows, `${model}, ours as a graph`)['graphLaunchesSinceOpened']).toBe(2); // the one that captures, and the timed one
      expect(mfu).toBeCloseTo(((flops ?? 0) * 1000) / (stepMs ?? 0) / (peakFlops ?? 0), 12);
    }
    expect(hasTorch ? undone(rows) : undone(rows).filter(({ name }) => name.includes(', ours'))).toEqual([]);
  }, 600_000);

  it('7: two and four ranks on one device train as one does, in tensor, pipeline and data parallel', () => {
    const rows = rowsOf(7);
    expect(undone(rows)).toEqual([]);
    expect(rows.map((row) => row['ranks'])).toEqual([1, 2, 2, 2, 4, 4]);
    for (const row of rows) {
      expect(row['device'], row.name).toBe('cuda:0');
      // Sums run in another order than on one rank.
      expect(Number(row['lossesApart']), row.name).toBeLessThan(1e-5);
      expect(Number(row['gradNormsApart']), row.name).toBeLessThan(1e-5);
      expect(Number(row['weightsApart']), row.name).toBeLessThan(1e-4);
    }
  }, 900_000);

  it('keeps the rows of a part that is killed, and makes one page of all parts', async () => {
    await killAfterRows(5);
    expect(readPart(out(), 2)).toMatchObject({ isWhole: false });
    expect(readPart(out(), 2)?.rows.length).toBeGreaterThan(4);
    run('--report');
    const page = readFileSync(join(out(), 'report.md'), 'utf8');
    for (const part of [1, 2, 3, 4, 5, 6, 7]) expect(page).toContain(`## Part ${part}: `);
    expect(page).toContain('killed before its end');
  }, 300_000);

  /** Kernels that were asked for, by what is kept of them. */
  function compiled(): Set<string> {
    const folder = join(home, 'cache', 'kernels');
    const texts = readdirSync(folder).map((name) => readFileSync(join(folder, name), 'latin1'));
    return new Set(texts.map((text) => /\/([a-z_0-9]+?)-[^/]*\.so\n/.exec(text)?.[1] ?? ''));
  }

  async function killAfterRows(count: number): Promise<void> {
    const child = spawn('/bin/sh', args('--part', '2'), { cwd: home, env, stdio: ['ignore', 'pipe', 'ignore'], detached: true });
    let text = '';
    for await (const chunk of child.stdout) {
      text += String(chunk);
      if (text.split('\n').length > count) break;
    }
    process.kill(-(child.pid ?? 0), 'SIGKILL'); // the whole group: the shell cannot tidy up
  }
});
