import { gptSizes } from './gpt-sizes.ts';
import { gptTraining } from './gpt-step.ts';
import { peakResidentBytes } from './process-measures.ts';
import { reportOf, type Report } from './report.ts';

/** Live native bytes of a small training loop after step 10 and after step 500, which must be the same, and the most ever resident. */
export async function memory(): Promise<Report> {
  const sizes = gptSizes['tiny'];
  if (sizes === undefined) throw new Error('bench: the model "tiny" is gone. Put it back into gpt-sizes.ts.');
  const training = await gptTraining(sizes);
  const after = (steps: number) => {
    for (let n = 0; n < steps; n++) training.step();
    return training.liveBytes();
  };
  const [early, late] = [after(10), after(490)];
  await training.ctx.destroy();
  if (early !== late) process.exitCode = 1;
  const none = { peer: null, ratio: null };
  return reportOf('memory', [
    { name: 'live native bytes after step 10', unit: 'bytes', ours: early, ...none },
    { name: 'live native bytes after step 500', unit: 'bytes', ours: late, ...none },
    { name: 'growth', unit: 'bytes', ours: late - early, ...none },
    { name: 'most resident memory of the process', unit: 'MiB', ours: peakResidentBytes() / 2 ** 20, ...none },
  ]);
}
