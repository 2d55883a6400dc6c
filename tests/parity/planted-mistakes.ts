import {
  allReduce,
  type AnyTensor,
  cat,
  type GPTConfig,
  GPTModel,
  type HiddenShard,
  linear,
  type Module,
  oneForwardOneBackward,
  type Parameter,
  slice,
  type Tensor,
  tensor,
} from '@megatron-ts/core';
import { axpy, copyInto } from '@megatron-ts/tensor';
import { gatherFromTensorParallelRegion } from '@megatron-ts/tensor-parallel';
import type { CheckName } from './checks.ts';
import { samplerFor, type Trainer } from './ranks/train.ts';
import type { Layout } from './run-plan.ts';

/** A mistake one could make in this library, planted into a trainer. */
export interface PlantedMistake {
  readonly name: string;
  /** Where it shows. */
  readonly layout: Layout;
  /** Further options of the model; none by default. */
  readonly model?: Partial<GPTConfig>;
  /** Checks that must turn red; others may. */
  readonly caughtBy: readonly CheckName[];
  readonly plant: (trainer: Trainer) => void;
}

const twoData = { data: 2, pipeline: 1, tensor: 1 };
const twoStages = { data: 1, pipeline: 2, tensor: 1 };
const twoShards = { data: 1, pipeline: 1, tensor: 2 };
const oneKey = { numKeyValueHeads: 1 };

/** Region of a parallel layer, which it keeps to itself. */
interface RegionOf {
  enter(x: AnyTensor): AnyTensor;
  leave(x: AnyTensor): AnyTensor;
}

/** Lets `change` see or alter the gradients right after they are finished, and say how many tokens there were before. */
function aroundFinish({ model }: Trainer, change: { readonly numTokens?: (count: number) => number; readonly after?: () => void }): void {
  const { numTokens = (count) => count, after } = change;
  const finish = model.finalizeGrads.bind(model);
  model.finalizeGrads = (options = {}) => {
    finish(options.numTokens === undefined ? {} : { numTokens: numTokens(options.numTokens) });
    after?.();
  };
}

function replaceMeta(parameter: Parameter, change: Partial<Parameter['meta']>): void {
  Reflect.set(parameter, 'meta', { ...parameter.meta, ...change });
}

function layersOf({ gpt }: Trainer) {
  return [...gpt.layers.values()];
}

function own(parameters: readonly Parameter[]): Parameter[] {
  return parameters.filter(({ tiedTo }) => tiedTo === undefined);
}

/** Makes `forward` what a module computes. */
function replaceForward(module: Module, forward: (x: AnyTensor) => AnyTensor): void {
  Reflect.set(module, 'forward', forward);
}

/** The mistakes. */
export const plantedMistakes: readonly PlantedMistake[] = [
  {
    name: 'backward of the mapping into a parallel region forgets its all-reduce, so that norms get partial gradients',
    layout: twoShards,
    caughtBy: ['gradients', 'replicas', 'lossCurve'],
    plant: (trainer) => {
      for (const { attention, mlp } of layersOf(trainer))
        for (const { layer, bias } of [
          { layer: attention.qkv, bias: attention.qkv.bias },
          { layer: mlp.up, bias: undefined },
        ])
          replaceForward(layer, (x) => linear(x, layer.weight as unknown as AnyTensor, bias as unknown as AnyTensor));
    },
  },
  {
    name: 'a row-parallel bias is added on every rank before the sum',
    layout: twoShards,
    caughtBy: ['gradients', 'lossCurve'],
    plant: (trainer) => {
      for (const { attention, mlp } of layersOf(trainer))
        for (const layer of [attention.projection, mlp.down]) {
          const { leave } = Reflect.get(layer, 'region') as RegionOf;
          replaceForward(layer, (x) => leave(linear(x, layer.weight as unknown as AnyTensor, layer.bias)));
        }
    },
  },
  {
    name: 'attention heads are mixed between ranks: queries come from the other rank',
    layout: twoShards,
    caughtBy: ['gradients', 'lossCurve'],
    plant: (trainer) => {
      for (const { attention } of layersOf(trainer)) {
        const { qkv } = attention;
        const forward = qkv.forward.bind(qkv);
        replaceForward(qkv, (x) => {
          const mine = forward(x) as AnyTensor; // [s, b, 3h / t]
          const width = (mine.shape.at(-1) ?? 0) / 3;
          const all: AnyTensor = gatherFromTensorParallelRegion(mine as Tensor<HiddenShard>, trainer.ctx.tp); // [s, b, 3h]
          const start = (1 - trainer.ctx.tp.rank) * 3 * width;
          const others = slice(all, -1, { start, end: start + width }); // [s, b, h / t]
          return cat([others, slice(mine, -1, { start: width, end: 3 * width })], -1); // [s, b, 3h / t]
        });
      }
    },
  },
  {
    name: 'initial values are drawn by rank instead of by place in the whole tensor',
    layout: twoShards,
    caughtBy: ['initialValues'],
    plant: ({ ctx, gpt, plan }) => {
      const other = new GPTModel({ ...plan.model, ctx }).initialize({
        seed: plan.seed + ctx.tp.rank,
        device: 'cpu',
        coordinates: (axis) => ctx.coordinates(axis),
      });
      const others = other.namedParameters();
      for (const [name, parameter] of gpt.namedParameters()) copyInto(parameter, others.get(name) as Parameter);
      other.dispose();
    },
  },
  {
    name: 'the gradient of a key and value head that two ranks hold is summed by nobody',
    layout: twoShards,
    model: oneKey,
    caughtBy: ['gradients', 'replicas', 'lossCurve'],
    plant: ({ ctx }) => {
      Reflect.set(ctx, 'neighbours', () => ctx.dp);
    },
  },
  {
    name: 'what backward runs again is not what forward ran: a norm knows how often it was called',
    layout: twoShards,
    model: { recompute: 'full' },
    caughtBy: ['gradients', 'lossCurve'],
    plant: (trainer) => {
      for (const { attentionNorm } of layersOf(trainer)) {
        const norm = attentionNorm as unknown as { forward(x: AnyTensor): AnyTensor };
        const forward = norm.forward.bind(norm);
        let calls = 0;
        replaceForward(attentionNorm, (x) => forward(x).div(calls++ % 2 === 0 ? 1 : 2));
      }
    },
  },
  {
    name: 'the global norm counts what is replicated over tensor-parallel ranks twice',
    layout: twoShards,
    caughtBy: ['gradientNorm'],
    plant: ({ model, optimizer }) => {
      // Only while the optimizer looks: finalizeGrads refuses such a meta.
      const metas = model.parameters().map((parameter) => [parameter, parameter.meta] as const);
      const step = optimizer.step.bind(optimizer);
      optimizer.step = () => {
        for (const [parameter] of metas) replaceMeta(parameter, { shardedOver: ['tp'] });
        const result = step();
        for (const [parameter, meta] of metas) replaceMeta(parameter, meta);
        return result;
      };
    },
  },
  {
    name: 'one tensor-parallel rank forgets to update what it holds in common with the other',
    layout: twoShards,
    caughtBy: ['replicas', 'lossCurve'],
    plant: ({ ctx, model, optimizer }) => {
      const step = optimizer.step.bind(optimizer);
      const common = own(model.parameters()).filter(({ meta }) => meta.shardedOver.length === 0);
      optimizer.step = () => {
        const before = common.map((parameter) => parameter.toArray() as Float32Array);
        const result = step();
        if (ctx.tp.rank === 1) common.forEach((parameter, i) => copyInto(parameter, tensor(before[i] ?? [], parameter.shape)));
        return result;
      };
    },
  },
  {
    name: 'the gradient of a tied head is counted once: by each stage alone',
    layout: twoStages,
    caughtBy: ['gradients', 'gradientNorm', 'replicas', 'lossCurve'],
    plant: ({ model }) => {
      for (const parameter of model.parameters()) replaceMeta(parameter, { sharedOver: undefined });
    },
  },
  {
    name: 'the gradient of a tied head is counted twice',
    layout: twoStages,
    caughtBy: ['gradients', 'gradientNorm'],
    plant: (trainer) => {
      const { ctx, model } = trainer;
      const shared = model.parameters().filter(({ meta }) => meta.sharedOver !== undefined);
      const after = () => {
        for (const { grad } of shared) if (grad !== undefined) allReduce(grad, { group: ctx.embedding }).wait();
      };
      aroundFinish(trainer, { after });
    },
  },
  {
    name: 'the global norm is not summed over stages',
    layout: twoStages,
    caughtBy: ['gradientNorm'],
    plant: ({ ctx, optimizer }) => {
      Reflect.set(optimizer, 'ctx', Object.create(ctx, { modelParallel: { value: ctx.tp } }));
    },
  },
  {
    name: 'data-parallel gradients are averaged where they should be summed',
    layout: twoData,
    caughtBy: ['gradients', 'gradientNorm'],
    plant: (trainer) => aroundFinish(trainer, { numTokens: (count) => count * trainer.ctx.dp.size }),
  },
  {
    name: 'each data-parallel rank divides by its own number of tokens',
    layout: twoData,
    caughtBy: ['gradients', 'gradientNorm'],
    plant: (trainer) => aroundFinish(trainer, { numTokens: (count) => count / trainer.ctx.dp.size }),
  },
  {
    name: 'all data-parallel ranks read the samples of the first',
    layout: twoData,
    caughtBy: ['gradients', 'gradientNorm', 'lossCurve'],
    plant: (trainer) => {
      const sampler = samplerFor(trainer.ctx, trainer.plan, 0);
      trainer.microbatchesOf = (step) => sampler.step(step);
    },
  },
  {
    name: 'all data-parallel ranks draw the dropout of the first',
    layout: twoData,
    caughtBy: ['gradients', 'gradientNorm', 'lossCurve'],
    plant: ({ ctx }) => {
      Reflect.set(ctx, 'dp', Object.create(ctx.dp, { rank: { value: 0 } }));
    },
  },
  {
    name: 'both tensor-parallel ranks draw the attention dropout of the first heads',
    layout: twoShards,
    caughtBy: ['gradients', 'lossCurve'],
    plant: (trainer) => {
      for (const { attention } of layersOf(trainer)) Reflect.set(attention, 'firstHead', 0);
    },
  },
  {
    name: 'the last microbatch is dropped',
    layout: twoStages,
    caughtBy: ['gradients', 'gradientNorm', 'lossCurve'],
    plant: (trainer) => {
      const { microbatchesOf, schedule } = trainer;
      const numMicrobatches = schedule.numMicrobatches - 1;
      trainer.schedule = oneForwardOneBackward({ numStages: trainer.ctx.pp.size, numMicrobatches });
      trainer.microbatchesOf = (step) => microbatchesOf(step).slice(0, numMicrobatches);
    },
  },
  {
    name: 'gradients of the step before are not forgotten',
    layout: twoStages,
    caughtBy: ['gradients', 'gradientNorm'],
    plant: (trainer) => {
      const parameters = own(trainer.model.parameters());
      const stale = new Map<Parameter, Float32Array>();
      const after = () => {
        for (const parameter of parameters) {
          const { grad, shape } = parameter;
          const before = stale.get(parameter);
          if (grad === undefined) continue;
          if (before !== undefined) axpy(grad, 1, tensor(before, shape));
          stale.set(parameter, grad.toArray() as Float32Array);
        }
      };
      aroundFinish(trainer, { after });
    },
  },
];
