import { it } from 'vitest';
import { expectProof } from '../../examples/expect-proof.ts';
import { runAlone } from '../../examples/run-example.ts';

it('a step of 1,024 ranks is proven free of hangs by one process', async () => {
  expectProof(await runAlone('05-offline-proof.ts'), 1024);
});
