// Our side of `npm run bench -- ops`: prepares one operation after the other and runs each in its turns.
import { engine } from '@megatron-ts/tensor';
import { takeTurns } from '../take-turns.ts';
import { PreparedOp } from './prepared-op.ts';
import type { OpSetting } from './settings.ts';

let prepared: PreparedOp | undefined;

function prepare(setting: OpSetting): object {
  prepared?.dispose();
  prepared = undefined;
  try {
    prepared = new PreparedOp(setting);
    return { check: prepared.check };
  } catch (error) {
    return { refusal: (error as Error).message };
  }
}

engine.setThreads(Number(process.env['MEGATRON_THREADS']));

await takeTurns(
  'megatron-ts',
  () => prepared?.turn() ?? Number.NaN,
  (setting) => prepare(setting as OpSetting),
);
