import { cpuFeatures } from '@megatron-ts/native';
import { availableParallelism, cpus, totalmem } from 'node:os';

/** Where a measurement was made. */
export interface Machine {
  /** Model name of the CPU. */
  readonly cpu: string;
  /** Cores this process may use. */
  readonly cores: number;
  /** Memory in GiB. */
  readonly memoryGiB: number;
  /** Vector instructions the engine chose. */
  readonly vectors: string;
  /** System and architecture. */
  readonly platform: string;
  /** Version of Node. */
  readonly node: string;
}

/** This machine; nothing that tells whose it is. */
export function describeMachine(): Machine {
  return {
    cpu: cpus()[0]?.model.trim() ?? 'unknown',
    cores: availableParallelism(),
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    vectors: cpuFeatures(),
    platform: `${process.platform} ${process.arch}`,
    node: process.versions.node,
  };
}
