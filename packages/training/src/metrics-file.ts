import { ConfigError } from '@megatron-ts/errors';
import { closeSync, mkdirSync, openSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import type { StepMetrics } from './progress.ts';

/** What the first line of a metrics file says of the run. */
export interface RunHeader {
  /** Seed of all draws. */
  readonly seed: number;
  /** Settings of model and training. */
  readonly config: Readonly<Record<string, unknown>>;
  /** Sizes of the mesh. */
  readonly layout: Readonly<Record<string, number>>;
}

/**
 * `runs/<name>/metrics.jsonl`: a header, then one object per step. Lines are written at once, so that a run that dies leaves what it
 * measured.
 */
export class MetricsFile {
  /** Path of the file. */
  readonly path: string;
  private readonly file: number;

  /** @throws ConfigError NO_SUCH_FILE when the folder cannot be written */
  constructor(name: string, header: RunHeader, { folder = 'runs' }: { readonly folder?: string } = {}) {
    this.path = join(folder, name, 'metrics.jsonl');
    try {
      mkdirSync(join(folder, name), { recursive: true });
      this.file = openSync(this.path, 'w');
    } catch (cause) {
      throw new ConfigError(
        'NO_SUCH_FILE',
        `MetricsFile: ${this.path} cannot be written (${(cause as Error).message}). Choose a folder that can.`,
        { cause },
      );
    }
    this.write({ header: { ...header, versions: { node: process.versions.node, megatron: megatronVersion } } });
  }

  /** Adds a step, with any measures of your own. */
  step(metrics: StepMetrics & Readonly<Record<string, unknown>>): void {
    this.write(metrics);
  }

  /** Closes the file. */
  close(): void {
    closeSync(this.file);
  }

  /** The same as `close`, for `using`. */
  [Symbol.dispose](): void {
    this.close();
  }

  private write(line: object): void {
    writeSync(this.file, `${JSON.stringify(line)}\n`);
  }
}

declare const __MEGATRON_VERSION__: string | undefined;

/** Version of the library, written in by the bundler; `source` in the repository. */
const megatronVersion = typeof __MEGATRON_VERSION__ === 'undefined' ? 'source' : __MEGATRON_VERSION__;
