import { allReduce, initializeModelParallel, type ParallelContext, type ProcessGroup } from '@megatron-ts/process-groups';
import { scope, tensor } from '@megatron-ts/tensor';
import { firstDifference, inputOf, read, serialReduction } from '../serial-reference.ts';
import { inputsOf } from './against-reference.ts';
import { sentenceOf } from './sentence-of.ts';

/** What a rank saw of groups it opened itself. */
export interface OwnGroups {
  readonly shuffled: { readonly rank: number; readonly fault: string | undefined };
  readonly pairs: readonly number[];
  readonly stranger: string;
  readonly strangerRank: number;
  readonly afterDestroy: readonly string[];
}

const self = Number(process.env['RANK']);

function sumOn(group: ProcessGroup): number {
  return scope(() =>
    allReduce(tensor([10 ** self]), { group })
      .wait()
      .item(),
  );
}

/** A sum over ranks in another order than that of the world. */
function shuffledSum(ctx: ParallelContext): OwnGroups['shuffled'] {
  const group = ctx.newGroup([1, 3, 0, 2], { name: 'shuffled' });
  const expected = serialReduction(inputsOf(group, 5003, 'f32'), 'sum', 'f32');
  const fault = scope(() => firstDifference(read(allReduce(inputOf(self, [5003], 'f32'), { group }).wait()), expected));
  return { rank: group.rank, fault };
}

/** Groups of a context of its own, which ends. */
export async function ownGroups(): Promise<OwnGroups> {
  const ctx = await initializeModelParallel({});
  const shuffled = shuffledSum(ctx);
  const ranks = self === 0 || self === 3 ? [3, 0] : [1, 2];
  const [one, two] = [ctx.newGroup(ranks, { name: 'pair' }), ctx.newGroup(ranks, { name: 'pair' })];
  const works = scope(() => {
    const started = [one, two].map((group) => allReduce(tensor([10 ** self]), { group }));
    return started.reverse().map((work) => work.wait().item()); // the second first
  });
  const outer = ctx.newGroup([3, 1], { name: 'outer' });
  const stranger = sentenceOf(() => sumOn(outer));
  const all = ctx.newGroup([0, 1, 2, 3]);
  await ctx.destroy();
  const afterDestroy = [sentenceOf(() => sumOn(all)), sentenceOf(() => ctx.newGroup([0, 1])), sentenceOf(() => ctx.flightRecord())];
  return { shuffled, pairs: works, stranger, strangerRank: outer.rank, afterDestroy };
}
