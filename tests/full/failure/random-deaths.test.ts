import { describe, it } from 'vitest';
import { drawFault, processFaults, seed } from './fault-plans.ts';
import { expectNamed } from './judge-fault.ts';

const plans = Array.from({ length: 30 }, (_, number) => drawFault(processFaults, 1000 + number));

describe(`a random end of a process, of seed ${seed}, is named by all others, and by their records`, () => {
  it.each(plans)('$text', (plan) => expectNamed(plan, false));
});
