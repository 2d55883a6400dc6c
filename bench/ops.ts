import { availableParallelism } from 'node:os';
import { fileURLToPath } from 'node:url';
import { comparisonRow, pairsWith, perOperation } from './comparison.ts';
import { Contestant } from './contestant.ts';
import { type OperandDType, opSettings, type OpSetting } from './ops/settings.ts';
import { peerPython } from './peer-python.ts';
import { reportOf, type Report, type Row } from './report.ts';
import { playRounds } from './rounds.ts';

/** Settings of the bench. */
export interface OpsOptions {
  /** Element type of operands; f32 by default. */
  readonly dtype?: OperandDType;
  /** Only rows whose name holds this. */
  readonly only?: string;
  /** Threads of each side; all cores by default. */
  readonly threads?: number;
  /** Undisturbed pairs that are wanted of each row; 7 by default. */
  readonly pairs?: number;
}

/** What a side says after it has prepared an operation. */
interface Prepared {
  /** A number that both sides compute from the operation's results. */
  readonly check?: number;
  /** Why it cannot. */
  readonly refusal?: string;
}

const here = (name: string) => fileURLToPath(new URL(name, import.meta.url));
/** How far both sides' checks may differ. */
const tolerances = { f32: 1e-3, bf16: 3e-2, dropout: 0.1 };

/**
 * Every operation of the engine beside PyTorch's, in microseconds. An operation that a side does not have in this dtype is named and left
 * out.
 */
export async function ops(options: OpsOptions): Promise<Report> {
  const { dtype = 'f32', only = '', threads = availableParallelism(), pairs = 7 } = options;
  const settings = opSettings(dtype).filter(({ name }) => name.includes(only));
  if (settings.length === 0) throw new Error(`bench: no operation has "${only}" in its name. Leave --only away to see them all.`);
  const env = { MEGATRON_THREADS: String(threads), OMP_NUM_THREADS: String(threads), PYTHONDONTWRITEBYTECODE: '1' };
  const ours = await Contestant.start(process.execPath, [...process.execArgv, here('ops/ours.ts')], env);
  const peer = await Contestant.start(peerPython(), [here('peers/ops_torch.py'), String(threads)], env);
  const rows: Row[] = [];
  for (const setting of settings) {
    if (!(await prepareBoth([ours, peer], setting))) continue;
    const rounds = await playRounds([ours, peer], { wanted: pairs, patience: 3, warmUp: 1 });
    rows.push(comparisonRow(setting.name, pairsWith(0, rounds), perOperation('µs')));
  }
  for (const contestant of [ours, peer]) contestant.end();
  return reportOf(`ops ${dtype}, ${threads} threads, beside ${peer.who}`, rows);
}

/** @returns whether both sides have it @throws Error when they compute different things */
async function prepareBoth(contestants: readonly Contestant[], setting: OpSetting): Promise<boolean> {
  const checks: number[] = [];
  for (const contestant of contestants) {
    const { check = Number.NaN, refusal } = (await contestant.prepare(setting)) as Prepared;
    if (refusal !== undefined) {
      process.stderr.write(`bench: ${setting.name}: left out, ${contestant.who}: ${refusal}\n`);
      return false;
    }
    checks.push(check);
  }
  const [own = Number.NaN, other = Number.NaN] = checks;
  const tolerance = 'dropout' in setting.sizes ? tolerances.dropout : tolerances[setting.dtype];
  if (Math.abs(own - other) <= tolerance * Math.abs(other)) return true;
  throw new Error(`bench: ${setting.name}: results of mean magnitude ${own} on our side and ${other} on the peer's. Compare both bodies.`);
}
