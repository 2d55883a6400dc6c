// Our side of `npm run bench -- train`: a process that trains one step each turn.
import { gptSizes } from './gpt-sizes.ts';
import { gptTraining } from './gpt-step.ts';
import { takeTurns } from './take-turns.ts';

const sizes = gptSizes[process.argv[2] ?? 'small'];
if (sizes === undefined) throw new Error(`bench: there is no model "${process.argv[2]}". Use ${Object.keys(gptSizes).join(' or ')}.`);
const training = await gptTraining(sizes);
await takeTurns('megatron-ts', () => training.step());
await training.ctx.destroy();
