import { ConfigError } from '@megatron-ts/errors';
import { type AskedDevice, askedDevice } from '@megatron-ts/launch';
import * as native from '@megatron-ts/native';
import { availableParallelism, totalmem } from 'node:os';
import { parseArgs } from 'node:util';
import { type DoctorRow, doctorTable } from './doctor-table.ts';

/** Text of `megatron-ts doctor --help`. */
export const doctorHelp = `Usage: megatron-ts doctor

Tells what this machine has for training: engine, what moves data between ranks, libraries and devices of CUDA.

  --help                this text

Exit status: 0 when the device of MEGATRON_DEVICE (cpu, cuda or cuda:N; cpu by default) can be used, 1 when it cannot.
`;

/** `doctor`: a table, then why the device of `MEGATRON_DEVICE` cannot be used. */
export function doctor(args: readonly string[]): Promise<number> {
  if (parseCommandLine(args).help === true) {
    process.stdout.write(doctorHelp);
    return Promise.resolve(0);
  }
  const device = askedDevice();
  const cuda = native.cudaDoctor(device.index);
  process.stdout.write(
    `${doctorTable([...machineRows(), ...cuda.libraries.map(libraryRow), ...cuda.devices.map(deviceRow), ...attentionRows(cuda)])}\n`,
  );
  if (device.kind === 'cuda' && cuda.refusal !== undefined) {
    process.stderr.write(`megatron-ts doctor: ${cuda.refusal}\n`);
    return Promise.resolve(1);
  }
  process.stdout.write(`\n${verdict(device)}\n`);
  return Promise.resolve(0);
}

function parseCommandLine(args: readonly string[]): { readonly help?: boolean } {
  try {
    return parseArgs({ args: [...args], options: { help: { type: 'boolean', short: 'h' } } }).values;
  } catch (cause) {
    const [sentence = ''] = (cause as Error).message.split('. ');
    throw new ConfigError('UNKNOWN_OPTION', `megatron-ts doctor: ${sentence}. See megatron-ts doctor --help.`, { cause });
  }
}

function verdict({ kind, index }: AskedDevice): string {
  if (kind === 'cpu') return 'Device cpu can be used.';
  return `Device cuda:${index} can be used; several ranks need NCCL beside it.`;
}

/** Engine, processor, and what moves data between ranks. */
function machineRows(): DoctorRow[] {
  const { path, refusal } = native.mpiDoctor();
  const cores = `${availableParallelism()} cores, ${gibibytes(totalmem())}, vector path ${native.cpuFeatures()}`;
  const hasSharedMemory = ['linux', 'darwin', 'win32'].includes(process.platform);
  return [
    { name: 'engine', state: 'found', details: `${process.platform}-${process.arch}, Node ${process.versions.node}` },
    { name: 'cpu', state: 'found', details: cores },
    { name: 'backend shm', state: hasSharedMemory ? 'found' : 'missing', details: 'ranks of one host' },
    { name: 'backend mpi', state: path === undefined ? 'missing' : 'found', details: path ?? refusal ?? '' },
  ];
}

function libraryRow({ name, isNeeded, state, version, path, refusal }: native.CudaLibrary): DoctorRow {
  const details = refusal ?? `${version ?? ''} ${path ?? ''}`.trim();
  return { name, state: isNeeded || state === 'found' ? state : `${state} (optional)`, details };
}

function deviceRow({ index, name, memoryBytes, computeCapability }: native.CudaDevice): DoctorRow {
  return { name: `cuda:${index}`, state: 'found', details: `${name}, ${gibibytes(memoryBytes)}, compute capability ${computeCapability}` };
}

/** Who computes attention, where there is a device. */
function attentionRows({ devices, attention }: native.CudaDiagnosis): DoctorRow[] {
  return devices.length === 0 ? [] : [{ name: 'attention', state: 'found', details: attention }];
}

function gibibytes(bytes: number): string {
  return `${(bytes / 2 ** 30).toFixed(1)} GiB`;
}
