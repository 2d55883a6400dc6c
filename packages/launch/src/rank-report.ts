import { readFileSync, renameSync, writeFileSync } from 'node:fs';

/** What a rank writes when an error ends it. */
export interface RankReport {
  /** Name of the error's class. */
  readonly name: string;
  /** Its sentence. */
  readonly message: string;
  /** Its code, where it has one. */
  readonly code: string | undefined;
  /** When it was raised, in milliseconds since 1970. */
  readonly time: number;
}

/** Variable that names the file a rank reports to. */
export const reportVariable = 'MEGATRON_ERROR_FILE';

/** What is told of an error that is raised now. */
export function reportOf(error: unknown): RankReport {
  const { name, message, code } =
    error instanceof Error ? (error as Error & { code?: unknown }) : { name: 'Error', message: String(error), code: undefined };
  return { name, message, code: typeof code === 'string' ? code : undefined, time: Date.now() };
}

/** Writes the report of `error`; beside and renamed, so that the launcher never reads half of it. */
export function writeReport(file: string, error: unknown): void {
  writeFileSync(`${file}.part`, JSON.stringify(reportOf(error)));
  renameSync(`${file}.part`, file);
}

/** The report a rank left; undefined when it left none. */
export function readReport(file: string): RankReport | undefined {
  try {
    return JSON.parse(readFileSync(file, 'utf8')) as RankReport;
  } catch {
    return undefined;
  }
}
