/** A box of elements: where it lies in the whole tensor and where in this rank's memory. */
export interface Rectangle {
  /** First element in the whole tensor, per dim. */
  readonly globalOffset: readonly number[];
  /** First element in the local tensor, per dim. */
  readonly localOffset: readonly number[];
  /** Size of the box, per dim. */
  readonly extent: readonly number[];
}

/** How a parameter is filled at `initialize`; drawn per element from (seed, name, global index), so alike on every layout. */
export type InitRule = ConstantRule | NormalRule | UniformRule;

/** Every element is 0, or 1. */
export interface ConstantRule {
  /** Which of the two. */
  readonly kind: 'zeros' | 'ones';
}

/** Drawn from a normal distribution. */
export interface NormalRule {
  /** Tells it from other rules. */
  readonly kind: 'normal';
  /** Mean; 0 by default. */
  readonly mean?: number;
  /** Standard deviation. */
  readonly std: number;
}

/** Drawn evenly from an interval. */
export interface UniformRule {
  /** Tells it from other rules. */
  readonly kind: 'uniform';
  /** Lower end. */
  readonly low: number;
  /** Upper end. */
  readonly high: number;
}

/** One tensor in the sense of the model (q, k, v, gate, up, …), of which a parameter holds rectangles. */
export interface LogicalTensor {
  /** Added to the parameter's name; empty when the parameter holds one logical tensor. */
  readonly suffix: string;
  /** Shape of the whole tensor. */
  readonly globalShape: readonly number[];
  /** The parts that this rank holds. */
  readonly rectangles: readonly Rectangle[];
  /**
   * Consecutive tensor-parallel ranks that hold the same parts, whole rows, each with a summand of their gradient, as key/value heads of
   * which there are fewer than ranks; 1 by default.
   */
  readonly copies?: number;
  /** How it is filled; as its parameter by default, and only where that is drawn. */
  readonly init?: InitRule | undefined;
}

/**
 * What the norm, data parallelism, the optimizer and checkpoints need to know of a parameter. Axes are named by string
 * (`'tp'`, `'dp'`, …); a parameter is replicated over every axis that is not in `shardedOver`.
 */
export interface ParamMeta {
  /** The model's tensors inside this parameter. */
  readonly logical: readonly LogicalTensor[];
  /** Axes over which each rank holds another part. */
  readonly shardedOver: readonly string[];
  /** Axes over which the gradients of replicas are summands of the true one (norms under sequence parallelism). */
  readonly gradPartialOver: readonly string[];
  /** Group (by name) whose ranks hold copies of this parameter in different roles and sum their gradients, as a tied head does. */
  readonly sharedOver: string | undefined;
  /** Whether this copy counts in norms and is the one that is stored. */
  readonly isPrimary: boolean;
}

/** The meta of a parameter that every rank holds whole. */
export function wholeTensor(shape: readonly number[]): ParamMeta {
  const zero = shape.map(() => 0);
  const rectangles = [{ globalOffset: zero, localOffset: zero, extent: shape }];
  return {
    logical: [{ suffix: '', globalShape: shape, rectangles }],
    shardedOver: [],
    gradPartialOver: [],
    sharedOver: undefined,
    isPrimary: true,
  };
}

/** Number of elements of the whole parameter, over all ranks that share it. */
export function globalNumel({ logical }: ParamMeta): number {
  return logical.reduce((sum, { globalShape }) => sum + globalShape.reduce((product, extent) => product * extent, 1), 0);
}
