import type { Environment, Launch } from '@megatron-ts/launch';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** Where the flight recorder writes. */
export interface RecorderPlace {
  /** The directory, made when there is something to write; none when the recorder is off. */
  readonly directory: string | undefined;
  /** Whether somebody named it: then slow operations are reason enough to write. */
  readonly isChosen: boolean;
}

/** `MEGATRON_RECORDER_DIR`, or a directory of the job's own among the temporary files; `off` means none. */
export function recorderPlace({ job }: Pick<Launch, 'job'>, env: Environment = process.env): RecorderPlace {
  const chosen = env['MEGATRON_RECORDER_DIR'] ?? '';
  if (chosen === 'off') return { directory: undefined, isChosen: false };
  return chosen === '' ? { directory: join(tmpdir(), `megatron-${job}`), isChosen: false } : { directory: chosen, isChosen: true };
}
