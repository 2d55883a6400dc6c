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

/** Runs a program on fake libraries in a process of its own; what it prints is JSON. */
function play(name: string, { device, folder = '', fake = '', attention = 'auto' }: Setting, argument: string): unknown {
  const libraries = { MEGATRON_CUDA_LIBS: folder, MEGATRON_CACHE: join(folder, 'cache'), MEGATRON_FAKE_CUDA: fake };
  const env = { MEGATRON_DEVICE: device, MEGATRON_ATTENTION: attention, ...libraries };
  const program = fileURLToPath(new URL(`./programs/${name}.ts`, import.meta.url));
  const args = ['--conditions=@megatron-ts/source', '--import', 'tsx', program, argument];
  return JSON.parse(execFileSync(process.execPath, args, { encoding: 'utf8', env: { ...process.env, ...env } }));
}

/** Runs the training in a process of its own. */
export function train({ model = 'gpt', ...setting }: Setting): Training {
  return play('train', setting, model) as Training;
}

/** What is told of a step. */
interface Told {
  readonly loss: number | null;
  readonly gradNorm: number | null;
  readonly lr: number;
}

/** What the program tells of one training in three ways. */
export interface Capturing {
  readonly isCaptured: boolean;
  /** Steps one operation after the other, and steps that are captured. */
  readonly asTheyAre: readonly Told[];
  readonly captured: readonly Told[];
  /** Losses of captured steps that were read a step later, and how often somebody had waited after each. */
  readonly late: readonly (number | null)[];
  readonly synchronizations: readonly number[];
  /** Before the first step that is captured, after each, and when the capture was disposed. */
  readonly unused: DeviceStats;
  readonly stats: readonly DeviceStats[];
  readonly disposed: DeviceStats;
  /** All weights at the end, of the three models. */
  readonly values: readonly (readonly (readonly number[])[])[];
}

/** Runs the program of captured steps. */
export function capture({ dtype = 'f32', ...setting }: Omit<Setting, 'device' | 'model'> & { readonly dtype?: 'f32' | 'bf16' }): Capturing {
  return play('capture', { device: 'cuda', ...setting }, dtype) as Capturing;
}

/** What the program tells of a training in which some gradients are not finite. */
export interface Skipping {
  /** Each step, looked at once it was over. */
  readonly waited: readonly (Told & { readonly skipped: boolean })[];
  /** Each step, looked at when all were over. */
  readonly late: Skipping['waited'];
  /** The weights at the end, in each way. */
  readonly values: readonly (readonly number[])[];
}

/** Runs the program in which steps are left out. */
export function skips(setting: Omit<Setting, 'model'>): Skipping {
  return play('skips', setting, '') as Skipping;
}
