import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { DeviceStats } from '@megatron-ts/core';
import { builtFake, install } from '../../packages/cli/test/fake-cuda.ts';

/** What the program tells of its training. */
export interface Training {
  /** Where it ran. */
  readonly device: string;
  /** What was said of tensors on two devices. */
  readonly refusals: readonly string[];
  /** Each step. */
  readonly steps: readonly { readonly loss: number | null; readonly device?: DeviceStats; readonly liveBytes: number }[];
  /** Values that went to the device and came back. */
  readonly copied: readonly number[];
}

/** Where kernels are kept that were compiled for this machine's CPU: a C++ compiler needs minutes for all of them. */
export const hostKernels = join(fileURLToPath(new URL('../../', import.meta.url)), 'build', 'host-kernels');

/** A folder with CUDA's libraries, all of them fakes, which goes with `end`. */
export function fakeMachine(): { readonly folder: string; end(): void } {
  const folder = mkdtempSync(join(tmpdir(), 'megatron-fake-'));
  install(builtFake(), { folder });
  return { folder, end: () => rmSync(folder, { recursive: true, force: true }) };
}

/** Variables for ranks on fake devices, as many as `devices` says, which meet in the fake NCCL across processes. */
export function rankVariables(folder: string, { devices, fake = '' }: { readonly devices: number; readonly fake?: string }): Variables {
  const meet = mkdtempSync(join(folder, 'meet-'));
  return {
    MEGATRON_DEVICE: 'cuda',
    MEGATRON_CUDA_LIBS: folder,
    MEGATRON_CACHE: join(folder, 'cache'),
    MEGATRON_FAKE_CUDA: `devices=${devices} meet=${meet} ${fake}`,
  };
}

type Variables = Readonly<Record<string, string>>;

/** Where a training runs, and of what. */
export interface Setting {
  readonly device: 'cpu' | 'cuda';
  /** Of the fake libraries. */
  readonly folder?: string;
  /** What they are told to be. */
  readonly fake?: string;
  readonly model?: 'gpt' | 'llama-bf16';
  /** Who computes attention. */
  readonly attention?: 'auto' | 'cudnn' | 'kernel';
}

/** Runs the training in a process of its own. */
export function train({ device, folder = '', fake = '', model = 'gpt', attention = 'auto' }: Setting): Training {
  const libraries = { MEGATRON_CUDA_LIBS: folder, MEGATRON_CACHE: join(folder, 'cache'), MEGATRON_FAKE_CUDA: fake };
  const env = { MEGATRON_DEVICE: device, MEGATRON_ATTENTION: attention, ...libraries };
  const program = fileURLToPath(new URL('./programs/train.ts', import.meta.url));
  const args = ['--conditions=@megatron-ts/source', '--import', 'tsx', program, model];
  return JSON.parse(execFileSync(process.execPath, args, { encoding: 'utf8', env: { ...process.env, ...env } })) as Training;
}
