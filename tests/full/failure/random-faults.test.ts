import { describe, it } from 'vitest';
import { drawFault, seed, threadFaults } from './fault-plans.ts';
import { expectNamed } from './judge-fault.ts';

// The seed is in the name of every test, so a failure can be had again.
const plans = Array.from({ length: 70 }, (_, number) => drawFault(threadFaults, number));

describe(`a random fault of seed ${seed} among threads is named by all others, and by their records`, () => {
  it.each(plans)('$text', (plan) => expectNamed(plan, true));
});
