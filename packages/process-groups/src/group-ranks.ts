import { ConfigError } from '@megatron-ts/errors';
import type { Mesh } from '@megatron-ts/mesh';

/** Refuses ranks that make no group of a mesh. @throws ConfigError OUT_OF_RANGE, CONTRADICTION */
export function checkGroupRanks(name: string, ranks: readonly number[], mesh: Mesh): void {
  const where = `ctx.newGroup: group ${name} [${ranks.join(', ')}]`;
  if (ranks.length === 0) throw new ConfigError('OUT_OF_RANGE', `${where} has no ranks. Name at least one.`);
  const stranger = ranks.find((rank) => !mesh.includes(rank));
  if (stranger !== undefined)
    throw new ConfigError(
      'OUT_OF_RANGE',
      `${where} names rank ${stranger}, but the context covers ${covered(mesh)}. Name ranks of the context.`,
    );
  const twice = ranks.find((rank, place) => ranks.indexOf(rank) !== place);
  if (twice !== undefined) throw new ConfigError('CONTRADICTION', `${where} names rank ${twice} more than once. Name each rank once.`);
}

function covered({ ranks }: Mesh): string {
  const [first = 0] = ranks;
  const last = ranks.at(-1) ?? first;
  return last - first + 1 === ranks.length ? `ranks ${first} to ${last}` : `ranks [${ranks.join(', ')}]`;
}
