// Our side of `npm run bench -- train`: a process that trains one step each turn. node train-ours.ts <model> <dtype>
import { gptSizesOf } from './gpt-sizes.ts';
import { gptTraining } from './gpt-step.ts';
import { takeTurns } from './take-turns.ts';

const [model = 'small', dtype] = process.argv.slice(2);
const training = await gptTraining(gptSizesOf(model), { computeDType: dtype === 'bf16' ? 'bf16' : 'f32' });
await takeTurns('megatron-ts', () => training.step());
await training.ctx.destroy();
