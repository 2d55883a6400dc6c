import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Turn } from './contestant.ts';
import type { Player } from './rounds.ts';

/** What a world is asked to do in a turn. */
export interface Setting {
  /** Collective. */
  readonly op: string;
  /** Size of its larger buffer on each rank. */
  readonly bytes: number;
}

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
const turnLasts = 60_000;
const mostRepeats = 2000;

/**
 * Several processes that play as one. Each connects to a socket, says `{ rank, who }`, and answers each line `op bytes repeats` with one
 * of JSON; between turns they block on the socket, so that only one of several worlds runs at any time.
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

  /** A player of `setting`, whose turns last about as long as those of others. */
  async player(setting: Setting): Promise<Player & { readonly who: string }> {
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
  private async ask({ op, bytes }: Setting, repeats: number): Promise<Turn> {
    for (const { socket } of this.ranks) socket.write(`${op} ${bytes} ${repeats}\n`);
    const answers = await Promise.all(this.ranks.map(async ({ lines }) => this.answer(lines)));
    const us = Math.max(...answers.map((answer) => answer.us));
    const wrong = answers.find(({ value }) => value !== answers[0]?.value);
    if (wrong !== undefined) throw new Error(`bench: ranks of ${this.who} disagree on the result of ${op}.`);
    return { ms: (us * repeats) / 1000, wait: Math.max(...answers.map(({ wait }) => wait)), value: us };
  }

  private async answer(lines: AsyncIterator<string>): Promise<Answer> {
    const { value, done } = await lines.next();
    if (done === true) throw new Error(`bench: a rank of ${this.who} ended during a turn. Its message stands above.`);
    return JSON.parse(value) as Answer;
  }
}

async function gather(server: Server, size: number): Promise<[who: string, ranks: Rank[]]> {
  const ranks: Rank[] = [];
  let name = '';
  while (ranks.filter(() => true).length < size) {
    const [socket] = (await once(server, 'connection')) as [Socket];
    const lines = createInterface({ input: socket })[Symbol.asyncIterator]();
    const { value } = (await lines.next()) as { value: string };
    const { rank, who } = JSON.parse(value) as { readonly rank: number; readonly who: string };
    ranks[rank] = { socket, lines };
    name = who;
  }
  return [name, ranks];
}
