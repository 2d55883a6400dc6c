import { RecordVerifier, type Verification } from '@megatron-ts/flight-recorder';
import { initializeModelParallel, type ModelParallelOptions, type ParallelContext } from '@megatron-ts/process-groups';

/** The mesh of a world that is played. */
export interface PlayedWorld extends Omit<ModelParallelOptions, 'backend' | 'rank' | 'worldSize' | 'ranks'> {
  /** How many ranks the world has. */
  readonly worldSize: number;
}

/**
 * Plays every rank of a world in this process, one after another over backend `fake`, and proves from what they recorded that the world
 * cannot hang: all members of each group call the same collectives, every message has its other end, and nothing waits in a circle.
 * Numbers mean nothing meanwhile: only what is called, by whom and in which order. A small model tells as much as a large one.
 * @param program - what a rank does, a step of training for instance; it must not branch on values of tensors
 * @throws ConfigError for sizes that do not fit
 */
export async function verifyWorld(world: PlayedWorld, program: (ctx: ParallelContext) => void | Promise<void>): Promise<Verification> {
  const verifier = new RecordVerifier();
  for (let rank = 0; rank < world.worldSize; rank++) {
    await using ctx = await initializeModelParallel({ ...world, backend: 'fake', rank });
    await program(ctx);
    verifier.add(ctx.flightRecord());
  }
  return verifier.verify();
}
