import {
  CheckpointError,
  ConfigError,
  DTypeError,
  EngineError,
  InternalError,
  MegatronError,
  ProcessGroupError,
  ShapeError,
} from '@megatron-ts/errors';
import { scope, tensor } from '@megatron-ts/tensor';
import { allReduce } from './all-reduce.ts';
import type { CollectiveOptions } from './collective-options.ts';
import { onHost } from './on-host.ts';
import { broadcastText } from './text-messages.ts';

const classes = { CheckpointError, ConfigError, DTypeError, EngineError, InternalError, ProcessGroupError, ShapeError };

/** An error on its way to other ranks. */
interface ToldError {
  readonly name: string;
  readonly code: string;
  readonly sentence: string;
}

/**
 * Makes what went wrong on one rank go wrong on all: where any rank of the group brings an error, every one of them throws that of the
 * lowest such rank, of the same class and code. All ranks call it, those without an error with undefined.
 */
export function failTogether(error: unknown, options: CollectiveOptions): void {
  const { group } = options;
  if (group.size === 1 && error !== undefined) throw error as Error;
  const first = onHost(() =>
    scope(() => {
      const own = tensor(Int32Array.of(error === undefined ? group.size : group.rank));
      return allReduce(own, { ...options, op: 'min' })
        .wait()
        .item();
    }),
  );
  if (first === group.size) return;
  const text = broadcastText(JSON.stringify(toldOf(error)), { ...options, root: first });
  const thrown = first === group.rank ? error : errorOf(JSON.parse(text) as ToldError);
  if (thrown instanceof MegatronError) thrown.locate(`rank ${group.ranks[first]}`);
  throw thrown as Error;
}

function toldOf(error: unknown): ToldError {
  const sentence = error instanceof Error ? error.message : String(error);
  return error instanceof MegatronError ? { name: error.name, code: error.code, sentence } : { name: '', code: '', sentence };
}

/** The library's errors are what they were; any other is that of a failed rank. */
function errorOf({ name, code, sentence }: ToldError): MegatronError {
  if (!Object.hasOwn(classes, name)) return new ProcessGroupError('RANK_FAILED', sentence);
  const Told = classes[name as keyof typeof classes] as new (code: string, sentence: string) => MegatronError;
  return new Told(code, sentence);
}
