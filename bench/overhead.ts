import { fileURLToPath } from 'node:url';
import { Contestant } from './contestant.ts';
import { peerPython } from './peer-python.ts';
import { reportOf, type Report, type Row } from './report.ts';
import { median } from './statistics.ts';

const here = (name: string) => fileURLToPath(new URL(name, import.meta.url));
const turns = 25;

/**
 * Microseconds per operation of a chain of operations on `[1, 4]`, beside PyTorch's: a forward that records nothing, and a whole step.
 * The last row is what TypeScript adds to the engine's calls in that step.
 */
export async function overhead(): Promise<Report> {
  const python = peerPython();
  const rows: Row[] = [];
  for (const kind of ['forward', 'both']) rows.push(await beside(python, kind));
  const alone = await startOurs('engine');
  const engine = median(await valuesOf(alone));
  alone.end();
  const step = rows.at(-1)?.ours ?? Number.NaN;
  rows.push({ name: 'engine calls of the same step, no tensors', unit: 'µs per op', ours: engine, peer: null, ratio: null });
  rows.push({ name: 'what TypeScript adds', unit: 'µs per op', ours: step - engine, peer: null, ratio: null });
  return reportOf('overhead', rows);
}

async function beside(python: string, kind: string): Promise<Row> {
  const ours = await startOurs(kind);
  const peer = await Contestant.start(python, [here('peers/overhead_torch.py'), kind], {});
  const values: [number, number][] = [];
  for (let turn = 0; turn < turns; turn++) values.push([(await ours.turn()).value, (await peer.turn()).value]);
  for (const contestant of [ours, peer]) contestant.end();
  const settled = values.slice(5); // the compilers are done by then
  const name = kind === 'forward' ? 'forward, nothing recorded' : 'forward and backward';
  return {
    name: `${name}, beside ${peer.who}`,
    unit: 'µs per op',
    ours: median(settled.map(([own]) => own)),
    peer: median(settled.map(([, other]) => other)),
    ratio: median(settled.map(([own, other]) => other / own)),
  };
}

function startOurs(kind: string): Promise<Contestant> {
  return Contestant.start(process.execPath, [...process.execArgv, here('overhead-ours.ts'), kind], {});
}

async function valuesOf(contestant: Contestant): Promise<number[]> {
  const values: number[] = [];
  for (let turn = 0; turn < turns; turn++) values.push((await contestant.turn()).value);
  return values.slice(5);
}
