import { CheckpointError, ConfigError } from '@megatron-ts/errors';
import { type AnyTensor, empty, noGrad, type Parameter, readBox, scope, writeBox } from '@megatron-ts/tensor';
import { failTogether } from './fail-together.ts';
import type { ParallelContext } from './parallel-context.ts';
import { received } from './received.ts';
import { recv, send } from './send-receive.ts';
import { broadcastText, gatherTexts } from './text-messages.ts';
import { type HeldParameter, heldParameters, type PlannedWhole, planWhole, type WholeForm, type WholePiece } from './whole-plan.ts';

/** Who takes whole tensors on the root. An error that any of these throws ends the gathering on all ranks. */
export interface WholeSink {
  /** Before all: what there is. Returns the names of those it takes, in the order in which they are to come. */
  begin(forms: readonly WholeForm[]): Iterable<string>;
  /** One tensor, which lives until this returns. */
  take(form: WholeForm, values: AnyTensor): void;
  /** All have come. */
  end(): void;
  /** In place of what would have come: some rank failed. */
  abort(): void;
}

/** Options of `gatherWhole`. */
export interface GatherWholeOptions {
  /** The mesh; all its ranks call, each with its own parameters. */
  readonly ctx: ParallelContext;
  /** Who takes the tensors; told of them on the root alone. */
  readonly sink: WholeSink;
  /** Rank of the context's world on which they come together; 0 by default. */
  readonly root?: number;
}

/**
 * Puts the model's tensors together on one rank, whatever the sharding, one at a time: no rank holds more than one whole tensor beside its
 * own part of the model. A parameter that holds several (q, k and v) gives several; copies in other roles (a tied head) give none.
 * What goes wrong on one rank is thrown on all of them.
 * @param parameters - this rank's by name, as `namedParameters` gives them
 * @throws ConfigError NOT_INITIALIZED; CheckpointError INCOMPLETE, LAYOUT_MISMATCH
 */
export function gatherWhole(parameters: ReadonlyMap<string, Parameter>, { ctx, sink, root = 0 }: GatherWholeOptions): void {
  const { world: group } = ctx;
  const isRoot = group.rank === root;
  const together = (what: string, f: () => void) => failTogether(failureOf(f), { group, label: `gatherWhole: ${what}` });
  try {
    together('parameters', () => requireInitialized(parameters));
    const label = 'gatherWhole: plan';
    const held = gatherTexts(JSON.stringify(heldParameters(parameters)), { group, root, label });
    let planned: readonly PlannedWhole[] = [];
    together('plan', () => {
      if (isRoot) planned = chosen(planWhole(held.map((text) => JSON.parse(text) as HeldParameter[])), sink);
    });
    planned = JSON.parse(broadcastText(JSON.stringify(planned), { group, root, label })) as PlannedWhole[];
    for (const one of planned)
      together(one.form.name, () =>
        noGrad(() => scope(() => moveOne(one, { parameters, ctx, root, take: (...given) => sink.take(...given) }))),
      );
    together('end', () => isRoot && sink.end());
  } catch (error) {
    if (isRoot) sink.abort();
    throw error;
  }
}

/** What the sink takes of what there is. @throws CheckpointError INCOMPLETE */
function chosen(planned: readonly PlannedWhole[], sink: WholeSink): PlannedWhole[] {
  const byName = new Map(planned.map((one) => [one.form.name, one]));
  return [...sink.begin(planned.map(({ form }) => form))].map((name) => {
    const one = byName.get(name);
    if (one !== undefined) return one;
    const sentence = `gatherWhole: no rank holds a tensor "${name}". Call it on every rank of the context, with all parameters of each.`;
    throw new CheckpointError('INCOMPLETE', sentence, { fields: { name } });
  });
}

interface Moving {
  readonly parameters: ReadonlyMap<string, Parameter>;
  readonly ctx: ParallelContext;
  readonly root: number;
  readonly take: WholeSink['take'];
}

/** Brings the parts of one tensor to the root; each rank sends its own in the plan's order. */
function moveOne({ form, pieces }: PlannedWhole, { parameters, ctx: { world: group }, root, take }: Moving): void {
  const label = `gatherWhole: ${form.name}`;
  if (group.rank !== root) {
    for (const piece of pieces) if (piece.rank === group.rank) send(partOf(parameters, piece), { group, peer: root, label }).wait();
    return;
  }
  const whole = empty(form.shape, form.dtype);
  for (const piece of pieces)
    scope(() => {
      const { rank, rectangle } = piece;
      const memory = () => received(rectangle.extent, { dtype: form.dtype, placement: 'replicated' });
      const part = rank === root ? partOf(parameters, piece) : recv(memory(), { group, peer: rank, label }).wait();
      writeBox(whole, part, rectangle.globalOffset);
    });
  take(form, whole);
}

function partOf(parameters: ReadonlyMap<string, Parameter>, { parameter, rectangle }: WholePiece): AnyTensor {
  return readBox(parameters.get(parameter) as AnyTensor, { offset: rectangle.localOffset, extent: rectangle.extent });
}

function requireInitialized(parameters: ReadonlyMap<string, Parameter>): void {
  for (const [name, { isInitialized }] of parameters)
    if (!isInitialized)
      throw new ConfigError('NOT_INITIALIZED', `gatherWhole: parameter "${name}" has no values yet. Call model.initialize(ctx) first.`);
}

function failureOf(f: () => unknown): unknown {
  try {
    f();
  } catch (error) {
    return error;
  }
  return undefined;
}
