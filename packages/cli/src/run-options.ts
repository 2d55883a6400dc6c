import { existsSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { ConfigError } from '@megatron-ts/errors';
import type { WorldRequest } from '@megatron-ts/launch';

/** What `megatron-ts run` was asked for. */
export interface RunOptions {
  /** Hosts and ranks. */
  readonly request: WorldRequest;
  /** Folder for one file of output per rank. */
  readonly logDir: string | undefined;
  /** The program. */
  readonly script: string;
  /** Its arguments. */
  readonly args: readonly string[];
}

/** Text of `megatron-ts run --help`. */
export const runHelp = `Usage: megatron-ts run [options] <script> [arguments of the script]

Starts one process per rank. The first rank that fails ends the others.

  --ranks N             N ranks on this machine; short for --standalone --nproc-per-node N
  --standalone          one host, no address needed
  --nproc-per-node N    ranks on each host (1)
  --nnodes N            hosts (1)
  --node-rank N         number of this host, from 0
  --master-addr HOST    host of rank 0
  --master-port PORT    port on that host (29500)
  --log-dir DIR         also writes each rank's output to DIR/rank-<n>.log
  --help                this text
`;

const flags = {
  ranks: { type: 'string' },
  standalone: { type: 'boolean' },
  'nproc-per-node': { type: 'string' },
  nnodes: { type: 'string' },
  'node-rank': { type: 'string' },
  'master-addr': { type: 'string' },
  'master-port': { type: 'string' },
  'log-dir': { type: 'string' },
  help: { type: 'boolean', short: 'h' },
} as const;

/** Number of our own arguments: those up to the script, which is the first that is neither a flag nor a flag's value. */
function ownArguments(args: readonly string[]): number {
  for (let at = 0; at < args.length; at++) {
    const argument = args[at] ?? '';
    if (!argument.startsWith('-')) return at;
    const flag = flags[argument.replace(/^--/, '') as keyof typeof flags];
    if (flag?.type === 'string') at++;
  }
  return args.length;
}

/** The options, or `help`. @throws ConfigError UNKNOWN_OPTION, INVALID_OPTION, CONTRADICTION, MISSING_OPTION, NO_SUCH_FILE */
export function parseRun(args: readonly string[]): RunOptions | 'help' {
  const own = ownArguments(args);
  const values = parseFlags(args.slice(0, own));
  if (values.help === true) return 'help';
  const nodes = wholeNumber('nnodes', values.nnodes, 1);
  const ranks = wholeNumber('ranks', values.ranks, 1);
  const perNode = wholeNumber('nproc-per-node', values['nproc-per-node'], 1);
  const standalone = values.standalone === true || ranks !== undefined;
  if (ranks !== undefined && perNode !== undefined) throw contradiction('--ranks', '--nproc-per-node');
  if (standalone && nodes !== undefined && nodes > 1)
    throw contradiction(ranks === undefined ? '--standalone' : '--ranks', `--nnodes ${nodes}`);
  const [script, ...rest] = args.slice(own);
  if (script === undefined)
    throw new ConfigError('MISSING_OPTION', 'megatron-ts run: no script is named. Name one, as in megatron-ts run --ranks 2 train.ts.');
  if (!existsSync(script)) throw new ConfigError('NO_SUCH_FILE', `megatron-ts run: there is no file ${script}. Name a script that exists.`);
  const request = {
    ranksPerNode: ranks ?? perNode,
    nodes: standalone ? 1 : nodes,
    nodeRank: standalone ? 0 : wholeNumber('node-rank', values['node-rank'], 0),
    masterAddr: values['master-addr'],
    masterPort: wholeNumber('master-port', values['master-port'], 1),
  };
  return { request, logDir: values['log-dir'], script, args: rest };
}

function parseFlags(args: readonly string[]) {
  try {
    return parseArgs({ args: [...args], options: flags }).values;
  } catch (cause) {
    const [sentence = ''] = (cause as Error).message.split('. ');
    throw new ConfigError('UNKNOWN_OPTION', `megatron-ts run: ${sentence}. See megatron-ts run --help.`, { cause });
  }
}

function wholeNumber(flag: string, text: string | undefined, least: number): number | undefined {
  if (text === undefined) return undefined;
  const value = Number(text);
  if (/^\d+$/.test(text) && Number.isSafeInteger(value) && value >= least) return value;
  throw new ConfigError('INVALID_OPTION', `megatron-ts run: --${flag} is ${JSON.stringify(text)}. Give a whole number from ${least}.`);
}

function contradiction(one: string, other: string): ConfigError {
  return new ConfigError('CONTRADICTION', `megatron-ts run: ${one} and ${other} contradict each other. Give one of them.`);
}
