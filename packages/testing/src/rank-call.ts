import { ConfigError } from '@megatron-ts/errors';

/** What a test sends to a rank: which function to call, with what. Typed arrays keep their type. */
export interface RankCall {
  /** URL of the module. */
  readonly moduleUrl: string;
  /** Name of the function it exports. */
  readonly exportName: string;
  /** The function's arguments. */
  readonly args: readonly unknown[];
}

/** What a rank sends back. */
export interface RankReturn {
  /** What the function returned. */
  readonly value: unknown;
}

/** Does what a test asked of this rank. @throws ConfigError INVALID_OPTION when the module exports no such function */
export async function answerCall({ moduleUrl, exportName, args }: RankCall): Promise<RankReturn> {
  const room = (await import(moduleUrl)) as Record<string, unknown>;
  const run = room[exportName];
  if (typeof run === 'function') return { value: await (run as (...args: readonly unknown[]) => unknown)(...args) };
  const names = Object.keys(room).join(', ') || 'nothing';
  throw new ConfigError('INVALID_OPTION', `runRanks: ${moduleUrl} exports no function ${exportName}, but ${names}. Export it.`);
}
