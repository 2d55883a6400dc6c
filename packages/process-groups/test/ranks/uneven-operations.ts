import { allGather, gatherToRoot, type ParallelContext, reduceScatter, scatter } from '@megatron-ts/process-groups';
import { type AnyTensor, dtypes, zeros } from '@megatron-ts/tensor';
import { inputOf, serialReduction, type Values, valuesIn } from '../serial-reference.ts';
import { inputsOf, type Verdict, Verdicts } from './against-reference.ts';

const width = 3;
const lists: readonly (readonly number[])[] = [
  [2, 0, 3, 1],
  [0, 0, 0, 5],
  [0, 0, 0, 0],
  [101, 1, 40, 7],
  [4, 4, 4, 4],
];

/** Operations whose ranks bring or take rows of their own number, in every dtype. */
export function unevenOperations({ world }: ParallelContext): Verdict[] {
  const verdicts = new Verdicts();
  for (const dtype of dtypes)
    for (const rows of lists) {
      const all = rows.reduce((a, b) => a + b, 0);
      const count = rows[world.rank] ?? 0;
      const before = rows.slice(0, world.rank).reduce((a, b) => a + b, 0);
      const name = `${dtype}[${rows.join(' + ')}, ${width}]`;
      const own = () => inputOf(world.rank, [count, width], dtype);
      const everything = world.ranks.flatMap((rank) => [...valuesIn(rank, (rows[rank] ?? 0) * width, dtype)]);
      const mine = (values: Values) => values.slice(before * width, (before + count) * width);
      const root = all % world.size;
      verdicts.expect(`allGather ${name}`, () => allGather(own(), { group: world, rows }).wait(), everything);
      verdicts.expect(
        `gatherToRoot ${name} to ${root}`,
        () => gatherToRoot(own(), { group: world, rows, root }).wait() ?? (zeros([0]) as AnyTensor),
        world.rank === root ? everything : [],
      );
      verdicts.expect(
        `reduceScatter ${name}`,
        () => reduceScatter(inputOf(world.rank, [all, width], dtype), { group: world, rows }).wait(),
        mine(serialReduction(inputsOf(world, all * width, dtype), 'sum', dtype)),
      );
      const whole = () => (world.rank === root ? inputOf(root, [all, width], dtype) : undefined);
      verdicts.expect(
        `scatter ${name} from ${root}`,
        () => scatter(whole(), { group: world, rows, root, shape: [all, width], dtype }).wait(),
        mine(valuesIn(root, all * width, dtype)),
      );
    }
  return verdicts.all;
}
