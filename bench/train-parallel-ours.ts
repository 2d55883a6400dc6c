// One rank of our side of the bench `train-parallel`: node train-parallel-ours.ts <socket> <model> tp|dp
import { allReduce, scope, tensor } from '@megatron-ts/core';
import { gptSizesOf } from './gpt-sizes.ts';
import { gptTraining } from './gpt-step.ts';
import { takeRankTurns } from './rank-turns.ts';

const [path = '', model = 'small', layout] = process.argv.slice(2);
const training = await gptTraining(gptSizesOf(model), { tensorModelParallelSize: layout === 'tp' ? 2 : 1 });
const { world } = training.ctx;

await takeRankTurns(path, { rank: world.rank, who: 'megatron-ts' }, (_, clock) => {
  let loss = Number.NaN;
  clock(() => {
    loss = training.step();
  });
  return (
    scope(() =>
      allReduce(tensor([loss]), { group: world })
        .wait()
        .item(),
    ) / world.size
  );
});
await training.ctx.destroy();
