import {
  type AnyTensor,
  backward,
  ColumnParallelLinear,
  copyToTensorParallelRegion,
  gatherFromSequenceParallelRegion,
  initializeModelParallel,
  linear,
  type ParallelContext,
  scope,
  traced,
  zeros,
} from '@megatron-ts/core';

/** A layer from `hidden` to 4 · `hidden` features on two ranks. */
export interface OverlapSetting {
  readonly hidden: number;
  readonly tokens: number;
  /** Whether the input is cut along the sequence. */
  readonly isCut: boolean;
  /** Whether the layer's collectives go on beside its products, or the mapping and the product run one after the other. */
  readonly isOverlapped: boolean;
}

/** Milliseconds of one backward on one rank. */
export interface OverlapTimes {
  /** From the begin to the end of all. */
  readonly whole: number;
  /** While collectives were under way, from being posted to their ends. */
  readonly underWay: number;
  /** While the rank did nothing but wait for them. */
  readonly waited: number;
}

/** Backwards of each setting on this rank; the first of each is not counted. */
export async function overlapTimes(settings: readonly OverlapSetting[], rounds: number): Promise<OverlapTimes[][]> {
  await using ctx = await initializeModelParallel({ tensorModelParallelSize: 2 });
  return settings.map((setting) => {
    const play = playerOf(ctx, setting);
    play();
    return Array.from({ length: rounds }, play);
  });
}

function playerOf(ctx: ParallelContext, { hidden, tokens, isCut, isOverlapped }: OverlapSetting): () => OverlapTimes {
  const options = { inputSize: hidden, outputSize: 4 * hidden, bias: false, tpGroup: ctx.tp, sequenceParallel: isCut };
  const layer = new ColumnParallelLinear<boolean>(options).initialize(ctx);
  const enter = (x: AnyTensor) => (isCut ? gatherFromSequenceParallelRegion(x, ctx.tp) : copyToTensorParallelRegion(x, ctx.tp));
  return () =>
    scope(() => {
      const x: AnyTensor = zeros([isCut ? tokens / 2 : tokens, 1, hidden]);
      x.requiresGrad = true;
      const y: AnyTensor = isOverlapped ? layer.call(x) : linear(enter(x), layer.weight as AnyTensor);
      const grad = zeros(y.shape);
      const begin = performance.now();
      const { trace } = traced(ctx, () => backward([y], [grad]));
      const whole = performance.now() - begin;
      const total = (kind: string) => trace.traceEvents.reduce((sum, { cat, dur = 0 }) => (cat === kind ? sum + dur / 1000 : sum), 0);
      return { whole, underWay: total('collective'), waited: total('wait') };
    });
}
