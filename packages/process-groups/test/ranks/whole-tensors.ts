import { CheckpointError } from '@megatron-ts/errors';
import { gatherWhole, initializeModelParallel, type ParallelContext, type WholeSink } from '@megatron-ts/process-groups';
import { copyInto, memoryStats, Parameter, type ParamMeta, tensor, wholeTensor } from '@megatron-ts/tensor';
import { sentenceOf } from './sentence-of.ts';

/** What the sink of one rank was told. */
export interface Gathered {
  readonly forms: readonly string[];
  readonly values: Record<string, readonly number[]>;
  readonly calls: readonly string[];
}

/** What came of gathering on one rank. */
export interface WholeTensors {
  readonly gathered: Gathered;
  readonly liveHandles: readonly number[];
  readonly full: string;
  readonly stranger: string;
  readonly uninitialized: string;
  readonly lacking: string;
}

/** A parameter of which this rank holds `values`. */
function holding(
  ctx: ParallelContext,
  [name, shape]: readonly [string, readonly number[]],
  given: Partial<ParamMeta>,
  values: number[],
): Parameter {
  const parameter = new Parameter({ shape, meta: { ...wholeTensor(shape), ...given }, dtype: name === 'short' ? 'bf16' : 'f32' });
  parameter.initialize(name, ctx);
  copyInto(parameter, tensor(Float32Array.from(values), shape));
  return parameter;
}

/**
 * Element i of a whole tensor is i. `rows` and `columns` are cut over tp, `stacked` holds rows of a and of b, `short` is bf16, `all` is whole
 * everywhere, `far` lies on the second stage alone, and `copy` there counts for nothing.
 */
function parametersOf(ctx: ParallelContext): Map<string, Parameter> {
  const t = ctx.tp.rank;
  const half = (dim: 0 | 1, start: number[]) => ({
    globalOffset: dim === 0 ? [2 * t, 0] : [0, 2 * t],
    localOffset: start,
    extent: dim === 0 ? [2, 3] : [3, 2],
  });
  const rowsOf = (suffix: string, row: number) => ({ suffix, globalShape: [4, 3], rectangles: [half(0, [row, 0])] });
  const rows = [0, 1, 2, 3, 4, 5].map((i) => i + 6 * t);
  const columns = [0, 1, 4, 5, 8, 9].map((i) => i + 2 * t);
  const columnMeta = [{ suffix: '', globalShape: [3, 4], rectangles: [half(1, [0, 0])] }];
  const held = [
    holding(ctx, ['rows', [2, 3]], { logical: [rowsOf('', 0)] }, rows),
    holding(ctx, ['columns', [3, 2]], { logical: columnMeta }, columns),
    holding(ctx, ['stacked', [4, 3]], { logical: [rowsOf('a', 0), rowsOf('b', 2)] }, [...rows, ...rows.map((i) => i + 100)]),
    holding(ctx, ['short', [2, 3]], { logical: [rowsOf('', 0)] }, rows),
    holding(ctx, ['all', [2]], {}, [0, 1]),
    ...(ctx.isLastStage ? [holding(ctx, ['far', []], {}, [7]), holding(ctx, ['copy', [1]], { isPrimary: false }, [8])] : []),
  ];
  return new Map(held.map((parameter) => [parameter.name, parameter]));
}

class Recorder implements WholeSink {
  readonly forms: string[] = [];
  readonly values: Record<string, readonly number[]> = {};
  readonly calls: string[] = [];
  private readonly faultAt: string | undefined;

  constructor(faultAt?: string) {
    this.faultAt = faultAt;
  }

  begin(forms: Parameters<WholeSink['begin']>[0]): string[] {
    this.calls.push('begin');
    this.forms.push(...forms.map(({ name, shape, dtype }) => `${name} ${dtype} [${shape.join(', ')}]`));
    const names = forms.map(({ name }) => name).reverse();
    return names;
  }

  take({ name }: Parameters<WholeSink['take']>[0], values: Parameters<WholeSink['take']>[1]): void {
    this.calls.push(name);
    if (name === this.faultAt) throw new CheckpointError('UNWRITABLE', 'sink: full.', { fields: { name } });
    this.values[name] = [...values.toArray()];
  }

  end(): void {
    this.calls.push('end');
    if (this.faultAt === 'end') throw new RangeError('not one of the library');
  }

  abort(): void {
    this.calls.push('abort');
  }
}

/** Puts tensors together on rank 2 of four, and fails in every way there is. */
export async function gatherWholeTensors(): Promise<WholeTensors> {
  await using ctx = await initializeModelParallel({ tensorModelParallelSize: 2, pipelineModelParallelSize: 2 });
  const parameters = parametersOf(ctx);
  const live = () => memoryStats().liveHandles;
  const run = (sink: WholeSink, given = parameters) => gatherWhole(given, { ctx, sink, root: 2 });
  const before = live();
  const sink = new Recorder();
  run(sink);
  const after = live();
  const full = new Recorder('stacked.a');
  const fullSentence = sentenceOf(() => run(full));
  const stranger = strangersEnd(() => run(new Recorder('end')));
  const unready = new Map([...parameters, ['late', new Parameter({ shape: [1] })]]);
  const result = {
    gathered: { forms: sink.forms, values: sink.values, calls: sink.calls },
    liveHandles: [before, after],
    full: `${fullSentence} ${full.calls.join()}`,
    stranger,
    uninitialized: sentenceOf(() => run(new Recorder(), ctx.world.rank === 1 ? unready : parameters)),
    lacking: sentenceOf(() => run(new Recorder(), ctx.tp.rank === 1 ? new Map() : parameters)),
  };
  for (const parameter of parameters.values()) parameter.dispose();
  return result;
}

function strangersEnd(f: () => void): string {
  try {
    return sentenceOf(f);
  } catch (error) {
    return String(error);
  }
}
