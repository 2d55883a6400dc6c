import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Turn } from './contestant.ts';
import type { RankName } from './rank-turns.ts';
import type { Player } from './rounds.ts';

/** One rank's answer. */
interface Answer {
  /** Microseconds per operation. */
  readonly us: number;
  /** Time its threads waited for a core, over the wall time. */
  readonly wait: number;
  /** What it computed. */
  readonly value: number;
}

interface Rank {
  readonly socket: Socket;
  readonly lines: AsyncIterator<string>;
}

/** About how long a turn lasts, in microseconds. */
const turnLasts = 120_000;
const mostRepeats = 40_000;

/**
 * Several processes that play as one. Each connects to a socket, says `{ rank, who }`, and answers each line, a setting of some words
 * and a number of repeats, with one of JSON; between turns they block on the socket, so that only one of several worlds runs at any time.
 */
export class WorldContestant {
  /** What it called itself. */
  readonly who: string;
  private readonly ranks: readonly Rank[];
  private readonly close: () => Promise<void>;

  private constructor(who: string, ranks: readonly Rank[], close: () => Promise<void>) {
    this.who = who;
    this.ranks = ranks;
    this.close = close;
  }

  /**
   * Starts a world and waits until its ranks have connected. @param launch - starts the ranks, given the socket's path, and resolves when
   * they have ended
   */
  static async start(size: number, launch: (path: string) => Promise<string | undefined>): Promise<WorldContestant> {
    const folder = mkdtempSync(join(tmpdir(), 'megatron-bench-'));
    const path = join(folder, 'turns');
    const server = createServer();
    server.listen(path);
    await once(server, 'listening');
    const ended = launch(path);
    const early = ended.then((reason) => {
      throw new Error(`bench: a world of ${size} ranks ended before its first turn. ${reason ?? ''}`.trimEnd());
    });
    early.catch(() => undefined);
    const [who, ranks] = await Promise.race([gather(server, size), early]);
    return new WorldContestant(who, ranks, async () => {
      for (const { socket } of ranks) socket.end();
      await ended;
      server.close();
      rmSync(folder, { recursive: true, force: true });
    });
  }

  /** A player of `setting`, words that its ranks know; its turns last about as long as those of others. */
  async player(setting: string): Promise<Player & { readonly who: string }> {
    await this.ask(setting, 1);
    const { value } = await this.ask(setting, 2);
    const repeats = Math.max(1, Math.min(mostRepeats, Math.round(turnLasts / value)));
    return { who: this.who, turn: () => this.ask(setting, repeats) };
  }

  /** Ends its processes. */
  end(): Promise<void> {
    return this.close();
  }

  /** One turn; its value is microseconds per operation of the slowest rank. */
  private async ask(setting: string, repeats: number): Promise<Turn> {
    for (const { socket } of this.ranks) socket.write(`${setting} ${repeats}\n`);
    const answers = await Promise.all(this.ranks.map(async ({ lines }) => this.answer(lines)));
    const us = Math.max(...answers.map((answer) => answer.us));
    const wrong = answers.find(({ value }) => value !== answers[0]?.value);
    if (wrong !== undefined) throw new Error(`bench: ranks of ${this.who} disagree on the result of ${setting}.`);
    return { ms: (us * repeats) / 1000, wait: Math.max(...answers.map(({ wait }) => wait)), value: us };
  }

  private async answer(lines: AsyncIterator<string>): Promise<Answer> {
    const { value, done } = await lines.next();
    if (done === true) throw new Error(`bench: a rank of ${this.who} ended during a turn. Its message stands above.`);
    return JSON.parse(value) as Answer;
  }
}

/** The ranks that connect, in whatever order and however close to each other. */
function gather(server: Server, size: number): Promise<[who: string, ranks: Rank[]]> {
  const ranks: Rank[] = [];
  return new Promise((resolve, reject) => {
    server.on('connection', (socket: Socket) => {
      introduce(socket).then(({ rank, who, lines }) => {
        ranks[rank] = { socket, lines };
        if (Object.keys(ranks).length === size) resolve([who, ranks]);
      }, reject);
    });
  });
}

async function introduce(socket: Socket): Promise<RankName & { readonly lines: AsyncIterator<string> }> {
  const lines = createInterface({ input: socket })[Symbol.asyncIterator]();
  const { value } = (await lines.next()) as { value: string };
  return { ...(JSON.parse(value) as RankName), lines };
}
