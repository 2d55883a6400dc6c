import { mkdtempSync, renameSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type CommandEnd, start } from './command-line.ts';
import { builtFake, install } from './fake-cuda.ts';

const isLinux = process.platform === 'linux';
const top = mkdtempSync(join(tmpdir(), 'megatron-doctor-'));
afterAll(() => rmSync(top, { recursive: true, force: true }));

const doctor = (env: Record<string, string> = {}, args: readonly string[] = []): Promise<CommandEnd> =>
  start(['doctor', ...args], { MEGATRON_DEVICE: '', MEGATRON_CUDA_LIBS: '', ...env }).ended;

describe('megatron-ts doctor', () => {
  it('tells what this machine has; the CPU can always be used', async () => {
    const { code, stdout, stderr } = await doctor();
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(stdout).toMatch(/^engine +found +\S+-\S+, Node \d+/m);
    expect(stdout).toMatch(/^cpu +found +\d+ cores, [\d.]+ GiB, vector path (baseline|avx2|avx512|neon)/m);
    expect(stdout).toMatch(/^backend mpi +(found +\S+|missing +no MPI library was found)/m);
    for (const name of ['CUDA driver', 'NVRTC', 'NVRTC builtins', 'cuBLASLt', 'cuBLAS', 'cuDNN', 'NCCL'])
      expect(stdout).toMatch(new RegExp(`^${name} +(found|missing|wrong-major|too-old|unusable)`, 'm'));
    expect(stdout.endsWith('\n\nDevice cpu can be used.\n')).toBe(true);
  });

  it.each([
    ['an unknown option', {}, ['--fast'], "megatron-ts doctor: Unknown option '--fast'. See megatron-ts doctor --help.\n"],
    ['a word', {}, ['cuda'], "megatron-ts doctor: Unexpected argument 'cuda'. See megatron-ts doctor --help.\n"],
    ['an unknown device', { MEGATRON_DEVICE: 'tpu' }, [], 'launch: MEGATRON_DEVICE is "tpu". Set it to cpu, cuda or cuda:N.\n'],
  ])('refuses %s with a sentence and status 2', async (_, env, args, sentence) => {
    const { code, stdout, stderr } = await doctor(env, args);
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
    expect(stderr).toContain(sentence);
  });

  it('tells how to use it', async () => {
    expect(await doctor({}, ['--help'])).toMatchObject({ code: 0, stdout: expect.stringContaining('Usage: megatron-ts doctor') });
  });
});

describe.runIf(isLinux)('megatron-ts doctor with a fake driver', () => {
  const folder = join(top, 'libs');
  const cuda = (device: string, fake: string, libs = folder): Promise<CommandEnd> =>
    doctor({ MEGATRON_DEVICE: device, MEGATRON_CUDA_LIBS: libs, MEGATRON_FAKE_CUDA: fake });

  let fake = '';
  beforeAll(() => {
    fake = builtFake();
    install(fake, { folder });
  });

  it('lists libraries with their versions and devices with their memory', async () => {
    const { code, stdout, stderr } = await cuda('cuda:1', 'devices=2 memory=85899345920');
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(stdout.replaceAll(/ {2,}/g, '  ').split('\n').slice(4)).toEqual([
      `CUDA driver  found  13.0 ${folder}/libcuda.so.1`,
      `NVRTC  found  13.0 ${folder}/libnvrtc.so.13`,
      `NVRTC builtins  found  13.0 ${folder}/libnvrtc-builtins.so.13.0`,
      `cuBLASLt  found  13.1.0 ${folder}/libcublasLt.so.13`,
      `cuBLAS  found  13.1.0 ${folder}/libcublas.so.13`,
      `cuDNN  found  9.19.0 ${folder}/libcudnn.so.9`,
      `NCCL  found  2.28.9 ${folder}/libnccl.so.2`,
      'cuda:0  found  Fake device 0, 80.0 GiB, compute capability 9.0',
      'cuda:1  found  Fake device 1, 80.0 GiB, compute capability 9.0',
      'attention  found  cuDNN 9.19.0, with gradients that are summed in one order; our kernels for the rest',
      '',
      'Device cuda:1 can be used; several ranks need NCCL beside it.',
      '',
    ]);
  });

  it.each([
    ['no device', 'cuda', 'devices=0', 'CUDA driver: there is no device. See whether nvidia-smi lists one, and what'],
    ['no device of this number', 'cuda:2', 'devices=2', 'device 2: there are 2 devices. Use cuda:0 to cuda:1.'],
    ['a driver that is too old', 'cuda', 'driver=12080', `CUDA driver: version 12.8 of ${folder}/libcuda.so.1 is older than 13.0. Install`],
    ['an NVRTC that is too new', 'cuda:0', 'nvrtc=14000', `NVRTC: ${folder}/libnvrtc.so.13 is of another major version than 13. Install`],
  ])('ends with status 1 and a sentence where there is %s', async (_, device, words, sentence) => {
    const { code, stdout, stderr } = await cuda(device, words);
    expect(code).toBe(1);
    expect(stdout).toContain('CUDA driver');
    expect(stderr.startsWith(`megatron-ts doctor: ${sentence}`), stderr).toBe(true);
    expect(stderr.split('\n')).toHaveLength(2);
    expect(await cuda('cpu', words)).toMatchObject({ code: 0, stderr: '' });
  });

  it('needs no NCCL, and says why the one that is there will not do', async () => {
    const other = join(top, 'other');
    install(fake, { folder: other });
    renameSync(join(other, 'libnccl.so.2'), join(other, 'libnccl.so.3'));
    const { code, stdout } = await cuda('cuda', '', other);
    expect(code).toBe(0);
    expect(stdout).toContain(`wrong-major (optional)  NCCL: ${other}/libnccl.so.3 is of another major version than 2.`);
  });
});
