import { fileURLToPath } from 'node:url';
import { comparisonRow, pairsWith, perOperation } from './comparison.ts';
import { Contestant } from './contestant.ts';
import { peerPython } from './peer-python.ts';
import { reportOf, type Report, type Row } from './report.ts';
import { playRounds, quietRounds } from './rounds.ts';
import { median } from './statistics.ts';

const here = (name: string) => fileURLToPath(new URL(name, import.meta.url));
// The compilers of both sides are done after the warm-up.
const rounds = { wanted: 15, warmUp: 8 };

/**
 * Microseconds per operation of a chain of operations on `[1, 4]`, beside PyTorch's: a forward that records nothing, and a whole step.
 * The last row is what TypeScript adds to the engine's calls in that step.
 */
export async function overhead(): Promise<Report> {
  const python = peerPython();
  const rows: Row[] = [];
  for (const kind of ['forward', 'both']) rows.push(await beside(python, kind));
  const alone = await startOurs('engine');
  const engine = median(quietRounds(await playRounds([alone], rounds)).map(([turn]) => turn?.value ?? Number.NaN));
  alone.end();
  const step = rows.at(-1)?.ours ?? Number.NaN;
  rows.push({ name: 'engine calls of the same step, no tensors', unit: 'µs per op', ours: engine, peer: null, ratio: null });
  rows.push({ name: 'what TypeScript adds', unit: 'µs per op', ours: step - engine, peer: null, ratio: null });
  return reportOf('overhead', rows);
}

async function beside(python: string, kind: string): Promise<Row> {
  const ours = await startOurs(kind);
  const peer = await Contestant.start(python, [here('peers/overhead_torch.py'), kind], { PYTHONDONTWRITEBYTECODE: '1' });
  const all = await playRounds([ours, peer], rounds);
  for (const contestant of [ours, peer]) contestant.end();
  const name = kind === 'forward' ? 'forward, nothing recorded' : 'forward and backward';
  return comparisonRow(`${name}, beside ${peer.who}`, pairsWith(0, all), perOperation('µs per op'));
}

function startOurs(kind: string): Promise<Contestant> {
  return Contestant.start(process.execPath, [...process.execArgv, here('overhead-ours.ts'), kind], {});
}
