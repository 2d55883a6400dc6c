import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { parseRun } from '../src/run-options.ts';

const script = fileURLToPath(import.meta.url);

describe('parseRun', () => {
  it('takes --ranks for --standalone --nproc-per-node, and leaves what follows the script to the script', () => {
    const short = parseRun(['--ranks', '4', script, '--ranks', '9', '--help']);
    expect(short).toEqual(parseRun(['--standalone', '--nproc-per-node=4', script, '--ranks', '9', '--help']));
    expect(short).toMatchObject({ request: { ranksPerNode: 4, nodes: 1, nodeRank: 0 }, script, args: ['--ranks', '9', '--help'] });
  });

  it('reads all flags of a run on several hosts', () => {
    const flags = [
      '--nproc-per-node',
      '2',
      '--nnodes',
      '3',
      '--node-rank',
      '1',
      '--master-addr',
      'head',
      '--master-port',
      '4000',
      '--log-dir',
      'logs',
    ];
    expect(parseRun([...flags, script])).toEqual({
      request: { ranksPerNode: 2, nodes: 3, nodeRank: 1, masterAddr: 'head', masterPort: 4000 },
      logDir: 'logs',
      script,
      args: [],
    });
  });

  it.each([
    [[], 'megatron-ts run: no script is named. Name one, as in megatron-ts run --ranks 2 train.ts.'],
    [['--ranks', '2'], 'megatron-ts run: no script is named.'],
    [['nowhere.ts'], 'megatron-ts run: there is no file nowhere.ts. Name a script that exists.'],
    [['--rank', '2', script], "megatron-ts run: Unknown option '--rank'. See megatron-ts run --help."],
    [['--ranks', '0', script], 'megatron-ts run: --ranks is "0". Give a whole number from 1.'],
    [['--ranks', '2.5', script], 'megatron-ts run: --ranks is "2.5". Give a whole number from 1.'],
    [
      ['--ranks', '2', '--nproc-per-node', '2', script],
      'megatron-ts run: --ranks and --nproc-per-node contradict each other. Give one of them.',
    ],
    [['--ranks', '2', '--nnodes', '2', script], 'megatron-ts run: --ranks and --nnodes 2 contradict each other. Give one of them.'],
  ])('refuses %j with a sentence', (args, sentence) => {
    expect(() => parseRun(args)).toThrow(sentence);
  });
});
