import type { Turn } from './contestant.ts';

/** A turn in which threads waited for cores longer than this part of it says more about the machine's other users than about the code. */
const disturbedAbove = 0.05;

/** Who can be asked for turns. */
export interface Player {
  /** Plays one. */
  turn(): Promise<Turn>;
}

/** Whether a turn had the cores it wanted. */
export function isUndisturbed({ wait }: Turn): boolean {
  return wait <= disturbedAbove;
}

/** How long a comparison goes on. */
export interface RoundOptions {
  /** Undisturbed rounds that are wanted. */
  readonly wanted: number;
  /** It ends in any case after this many times as many rounds; 10 by default. */
  readonly patience?: number;
  /** Rounds that are played before and not counted; 3 by default. */
  readonly warmUp?: number;
}

/** Lets contestants take turns, one each in a round; who begins changes from round to round. @returns all rounds, disturbed ones too */
export async function playRounds(contestants: readonly Player[], { wanted, patience = 10, warmUp = 3 }: RoundOptions): Promise<Turn[][]> {
  for (let round = 0; round < warmUp; round++) for (const contestant of contestants) await contestant.turn();
  const rounds: Turn[][] = [];
  const undisturbed = () => rounds.filter((round) => round.every(isUndisturbed)).length;
  while (undisturbed() < wanted && rounds.length < patience * wanted) {
    const turns = new Map<Player, Turn>();
    const order = rounds.length % 2 === 0 ? contestants : contestants.toReversed();
    for (const contestant of order) turns.set(contestant, await contestant.turn());
    rounds.push(contestants.map((contestant) => turns.get(contestant) as Turn));
    if (process.stderr.isTTY) process.stderr.write(`\rbench: ${undisturbed()} of ${wanted} undisturbed rounds, ${rounds.length} played `);
  }
  if (process.stderr.isTTY) process.stderr.write('\r\x1b[K');
  return rounds;
}

/** The undisturbed rounds, or all where there is none. */
export function quietRounds<R extends readonly Turn[]>(rounds: readonly R[]): readonly R[] {
  const quiet = rounds.filter((round) => round.every(isUndisturbed));
  return quiet.length > 0 ? quiet : rounds;
}

/** A contestant whose own threads wait for few cores by themselves: its turns do not tell of the machine's other users. */
export function forgiving(player: Player): Player {
  return { turn: async () => ({ ...(await player.turn()), wait: 0 }) };
}
