import { ambient } from './ambient.ts';
import { checksPlacements } from './check-mode.ts';
import { layoutOf, place } from './placements/index.ts';
import { noGrad, scope } from './scope.ts';
import { type AnyTensor, Tensor } from './tensor.ts';

/** How values are made again. */
export interface Remaking<T extends readonly AnyTensor[]> {
  /** Makes all of them anew, with the same bits. It runs unrecorded and outside every module call. */
  readonly make: () => T;
  /** What `make` reads; it lives as long as somebody may ask. */
  readonly inputs: readonly AnyTensor[];
}

/**
 * Stand-ins for fresh results of an operation which give their memory up when the scope in which they were made closes: a tape that
 * saves them holds a promise, and `make` fulfils it when backward asks. The results themselves where nothing is recorded.
 * @source Megatron-core, checkpoints without output
 */
export function remakeable<T extends readonly AnyTensor[]>(results: T, { make, inputs }: Remaking<T>): T {
  if (!ambient.recording || ambient.scope === undefined || !inputs.some(({ requiresGrad }) => requiresGrad)) return results;
  const recipe: Recipe = { make, inputs, members: [] };
  const RemadeTensor = (remadeClass ??= defineRemadeTensor());
  for (const result of results) {
    const made = new RemadeTensor(result, recipe);
    if (checksPlacements()) place(made, layoutOf(result));
    if (result.node !== undefined) made.attach(result.node, result.outputIndex);
    recipe.members.push(made);
  }
  return recipe.members as readonly AnyTensor[] as T;
}

/** How values that were given up are made again. */
interface Recipe {
  /** Makes all values anew. */
  readonly make: () => readonly AnyTensor[];
  /** What `make` reads; held until nobody needs the values. */
  readonly inputs: readonly AnyTensor[];
  /** The tensors whose values it makes, in their order. */
  readonly members: RemadeTensor[];
}

/**
 * A tensor that gives its memory up as soon as its scope, the first of its owners, lets it go. Whoever still holds it and asks for the
 * values, such as a weight gradient in backward, has them made again; then they stay until the last owner has gone.
 */
interface RemadeTensor extends AnyTensor {
  /** Takes values made again, if it lacks them and somebody holds it. */
  accept(values: AnyTensor): void;
}

let remadeClass: (new (values: AnyTensor, recipe: Recipe) => RemadeTensor) | undefined;

/** Its class, defined at the first use: it extends Tensor, whose methods are operations, one of which makes such tensors. */
function defineRemadeTensor() {
  return class extends Tensor {
    private values: AnyTensor | undefined;
    private count = 1;
    private mayDrop = true;
    private readonly recipe: Recipe;

    constructor(values: AnyTensor, recipe: Recipe) {
      const { shape, dtype, placement } = values;
      super(0, { shape, dtype, placement: placement as 'replicated' });
      this.values = values.retain();
      this.recipe = recipe;
      for (const input of recipe.inputs) input.retain();
      ambient.scope?.items.push(this as AnyTensor);
    }

    override get handle(): number {
      const none = super.handle; // refuses what has no owner
      if (this.values === undefined) makeAgain(this.recipe);
      return this.values?.handle ?? none;
    }

    override get isLive(): boolean {
      return this.count > 0;
    }

    override retain(): this {
      this.count++;
      return this;
    }

    override release(): void {
      this.count--;
      if (this.count > 0 && !this.mayDrop) return;
      this.values?.release();
      this.values = undefined;
      if (this.count > 0) return;
      this.node = undefined;
      for (const input of this.recipe.inputs) input.release();
    }

    override dispose(): void {
      if (this.count > 0) this.release();
    }

    override watch(): void {
      void this.handle;
      this.mayDrop = false;
      this.values?.watch();
    }

    accept(values: AnyTensor): void {
      if (this.count > 0) this.values ??= values.retain();
      this.mayDrop = false;
    }
  };
}

function makeAgain({ make, members }: Recipe): void {
  noGrad(() =>
    scope(() => {
      for (const [i, values] of make().entries()) members[i]?.accept(values);
    }),
  );
}
