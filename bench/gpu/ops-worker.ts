// Our side of parts 2, 4 and 5: computes operations on the CPU and on the device, compares and times them.
import { readFileSync } from 'node:fs';
import { engine, flushReleases } from '@megatron-ts/tensor';
import { answer } from './answer.ts';
import { deviation } from './deviation.ts';
import { DeviceOp, type DeviceOpSetting } from './device-op.ts';

interface Compare {
  readonly setting: DeviceOpSetting;
  /** The peer's values, f32 one after the other; the CPU's where there are none. */
  readonly file?: string;
  /** Numbers of each of the peer's results. */
  readonly lengths?: readonly number[];
}

const deviceIndex = Number(/^cuda:(\d+)$/.exec(process.env['MEGATRON_DEVICE'] ?? '')?.[1] ?? 0);
let prepared: DeviceOp | undefined;

function valuesOn(place: 'cpu' | 'device', setting: DeviceOpSetting): Float32Array[] {
  if (place === 'cpu') engine.useCpu();
  else engine.useDevice(deviceIndex);
  const op = new DeviceOp(setting);
  try {
    return op.values();
  } finally {
    op.dispose();
  }
}

/** What a peer wrote. */
function valuesIn(file: string, lengths: readonly number[]): Float32Array[] {
  const bytes = readFileSync(file);
  let at = 0;
  return lengths.map((length) => {
    const part = bytes.subarray(at, (at += 4 * length));
    return new Float32Array(Uint8Array.from(part).buffer);
  });
}

/** What the device was asked for so far. */
function asked(): { launches: number; cudnnAttentions: number } {
  const stats = engine.deviceStats();
  return stats === null
    ? { launches: 0, cudnnAttentions: 0 }
    : { launches: stats.launches + stats.products, cudnnAttentions: stats.cudnnAttentions };
}

await answer({
  compare: ({ setting, file, lengths = [] }: Compare) => {
    engine.useDevice(deviceIndex);
    const before = asked().cudnnAttentions;
    const there = valuesOn('device', setting);
    const { launches, cudnnAttentions } = asked();
    const others = file === undefined ? valuesOn('cpu', setting) : valuesIn(file, lengths);
    return { ...deviation(there, others), launches, cudnnAttentions: cudnnAttentions - before };
  },
  once: ({ setting }: Compare) => {
    engine.useDevice(deviceIndex);
    const op = new DeviceOp(setting);
    op.once();
    op.dispose();
    return {};
  },
  prepare: ({ setting }: Compare) => {
    prepared?.dispose();
    prepared = undefined;
    engine.useDevice(deviceIndex);
    flushReleases();
    engine.trimCache();
    prepared = new DeviceOp(setting);
    prepared.calibrate();
    return {};
  },
  doctor: () => engine.cudaDoctor(deviceIndex),
  turn: () => ({ us: prepared?.turn() ?? Number.NaN, whyKernels: engine.deviceStats()?.whyKernels }),
});
