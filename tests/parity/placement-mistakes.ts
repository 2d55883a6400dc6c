import {
  add,
  allGather,
  allReduce,
  type AnyTensor,
  backward,
  biasAdd,
  ColumnParallelLinear,
  copyToTensorParallelRegion,
  crossEntropy,
  defineOp,
  gatherFromSequenceParallelRegion,
  gatherFromTensorParallelRegion,
  gelu,
  layerNorm,
  LayerNorm,
  linear,
  Module,
  mul,
  Parameter,
  type ParallelContext,
  reduceFromTensorParallelRegion,
  reduceScatterToSequenceParallelRegion,
  RowParallelLinear,
  scatterToSequenceParallelRegion,
  selfAttention,
  slice,
  tensor,
  vocabParallelCrossEntropy,
  VocabParallelEmbedding,
} from '@megatron-ts/core';
import { embedding, rotaryEmbedding } from '@megatron-ts/tensor';

/* eslint-disable @typescript-eslint/no-explicit-any -- types refuse most of these mistakes already: any is how they get past */
type Any = any;

const [seq, batch, hidden, vocab] = [4, 2, 8, 16];

/** The layers that a case may use, on two tensor-parallel ranks. */
export class Layers extends Module {
  readonly words: VocabParallelEmbedding;
  readonly norm: LayerNorm;
  readonly cutNorm: LayerNorm;
  readonly up: ColumnParallelLinear;
  readonly down: RowParallelLinear;
  readonly cutUp: ColumnParallelLinear<true>;
  readonly cutDown: RowParallelLinear<true>;
  /** One number, whole on every rank. */
  readonly scale = new Parameter({ shape: [1], init: { kind: 'ones' } });
  /** Whole on every rank, as long as a rank's part of the wide activations. */
  readonly vector = new Parameter({ shape: [hidden] });
  /** Learned positions, whole on every rank. */
  readonly positions = new Parameter({ shape: [seq, hidden] });
  readonly ctx: ParallelContext;

  constructor(ctx: ParallelContext) {
    super();
    const tpGroup = ctx.tp;
    this.ctx = ctx;
    this.words = new VocabParallelEmbedding({ vocabSize: vocab, hiddenSize: hidden, tpGroup });
    this.norm = new LayerNorm({ hiddenSize: hidden });
    this.cutNorm = new LayerNorm({ hiddenSize: hidden, sequenceParallel: true });
    this.up = new ColumnParallelLinear({ inputSize: hidden, outputSize: 2 * hidden, tpGroup });
    this.down = new RowParallelLinear({ inputSize: 2 * hidden, outputSize: hidden, tpGroup });
    this.cutUp = new ColumnParallelLinear({ inputSize: hidden, outputSize: 2 * hidden, tpGroup, sequenceParallel: true });
    this.cutDown = new RowParallelLinear({ inputSize: 2 * hidden, outputSize: hidden, tpGroup, sequenceParallel: true });
  }

  /** Embedded tokens, whole: `[s, b, h]`. */
  stream(): Any {
    return this.words.call(tokens());
  }

  /** The same, this rank's part of the sequence: `[s / t, b, h]`. */
  cutStream(): Any {
    return scatterToSequenceParallelRegion(this.stream(), this.ctx.tp);
  }

  /** A rank's part of wide activations `[s, b, 2 h / t]`. */
  wide(): Any {
    return this.up.call(this.norm.call(this.stream()));
  }

  /** Logits of a rank's part of the vocabulary `[s, b, v / t]`. */
  logits(x: Any): Any {
    return linear(copyToTensorParallelRegion(x, this.ctx.tp), this.words.weight as Any);
  }

  override forward(body: (layers: Layers) => AnyTensor): AnyTensor {
    return body(this);
  }
}

function tokens(): Any {
  return tensor(
    Int32Array.from({ length: seq * batch }, (_, i) => (3 * i) % vocab),
    [seq, batch],
  );
}

/** A mistake in where values live, and the same written right. */
export interface PlacementMistake {
  readonly name: string;
  /** Whether only backward goes wrong. */
  readonly inBackward: boolean;
  /** Gives a loss, or what goes wrong before there is one. */
  readonly wrong: (layers: Layers) => AnyTensor;
  /** The remedy. */
  readonly right: (layers: Layers) => AnyTensor;
  /** What the error says. */
  readonly says: RegExp;
}

/** A row-parallel product without the sum over ranks. */
function summands({ down }: Layers, x: Any): Any {
  return linear(x, down.weight as Any);
}

const sumOf = (x: Any): Any => x.sum();

/** Rows of this rank, by an operation whose backward keeps to itself what it should exchange. */
const cutWithoutGather = defineOp({
  name: 'cutWithoutGather',
  forward: (x: AnyTensor, ctx: ParallelContext) => {
    const rows = (x.shape[0] ?? 0) / ctx.tp.size;
    return { output: slice(x, 0, { start: ctx.tp.rank * rows, end: (ctx.tp.rank + 1) * rows }), saved: {} };
  },
  backward: (grad) => [repeated(grad), null],
  placement: () => 'sequence sharded over tp',
});

/** As many rows as the whole has. */
function repeated(x: AnyTensor): AnyTensor {
  const [rows = 0, ...rest] = x.shape;
  return x
    .reshape([1, rows, ...rest])
    .expand([2, rows, ...rest])
    .reshape([2 * rows, ...rest]);
}

/** Gathers a cut sequence; backward keeps its own rows of what is still a summand. */
const gatherWithoutScatter = defineOp({
  name: 'gatherWithoutScatter',
  forward: (x: AnyTensor, ctx: ParallelContext) => ({ output: allGather(x, { group: ctx.tp }).wait(), saved: ctx }),
  backward: (grad, ctx) => {
    const rows = (grad.shape[0] ?? 0) / ctx.tp.size;
    return [slice(grad, 0, { start: ctx.tp.rank * rows, end: (ctx.tp.rank + 1) * rows }), null];
  },
  placement: () => 'replicated',
});

/** Sums forward and, for good measure, backward. */
const reducedBothWays = defineOp({
  name: 'reducedBothWays',
  forward: (x: AnyTensor, ctx: ParallelContext) => ({ output: allReduce(x.mul(1), { group: ctx.tp }).wait(), saved: ctx }),
  backward: (grad, ctx) => [allReduce(grad.mul(1), { group: ctx.tp }).wait(), null],
  placement: () => 'replicated',
});

const silent = defineOp({
  name: 'doubled',
  forward: (x: AnyTensor) => ({ output: x.mul(2), saved: {} }),
  backward: (grad) => [grad.mul(2)],
});

const spoken = defineOp({
  name: 'doubled',
  forward: (x: AnyTensor) => ({ output: x.mul(2), saved: {} }),
  backward: (grad) => [grad.mul(2)],
  placement: (x) => x,
});

const lying = defineOp({
  name: 'lying',
  forward: (x: AnyTensor) => ({ output: x.mul(2), saved: {} }),
  backward: (grad) => [grad.mul(2)],
  placement: () => 'replicated',
});

const heads = { numHeads: 2, causal: true };

/** The mistakes: the first half shows in forward, the second only in gradients. */
export const placementMistakes: readonly PlacementMistake[] = [
  {
    name: 'the output of a row-parallel product is normed before it is reduced',
    inBackward: false,
    wrong: (l) => sumOf(l.norm.call(summands(l, l.wide()))),
    right: (l) => sumOf(l.norm.call(l.down.call(l.wide()))),
    says: /^norm: layerNorm: \[4, 2, 8\] \(partial sum over tp, since linear\) is used as a whole value.*Reduce it over tp first/,
  },
  {
    name: 'a bias is added before the sum, on every rank',
    inBackward: false,
    wrong: (l) => sumOf(biasAdd(summands(l, l.wide()), l.vector)),
    right: (l) => sumOf(biasAdd(reduceFromTensorParallelRegion(summands(l, l.wide()), l.ctx.tp), l.vector)),
    says: /biasAdd: \[8\] \(replicated\) is added to \[4, 2, 8\] \(partial sum over tp.*count it once for every rank.*add it after/,
  },
  {
    name: 'the residual stream is added to a summand',
    inBackward: false,
    wrong: (l) => sumOf(add(summands(l, l.wide()), l.stream())),
    right: (l) => sumOf(add(l.down.call(l.wide()), l.stream())),
    says: /add: \[4, 2, 8\] \(replicated\) is added to \[4, 2, 8\] \(partial sum over tp/,
  },
  {
    name: 'a sum over ranks is taken twice',
    inBackward: false,
    wrong: (l) => sumOf(allReduce(l.down.call(l.wide()), { group: l.ctx.tp }).wait()),
    right: (l) => sumOf(l.down.call(l.wide())),
    says: /allReduce: \[4, 2, 8\] \(replicated\) is whole on every rank already.*Leave the second reduction out/,
  },
  {
    name: 'a non-linear function is applied to a summand',
    inBackward: false,
    wrong: (l) => sumOf(gelu(summands(l, l.wide()))),
    right: (l) => sumOf(gelu(l.down.call(l.wide()))),
    says: /gelu: .*partial sum over tp.*used as a whole value/,
  },
  {
    name: 'summands are multiplied with each other',
    inBackward: false,
    wrong: (l) => sumOf(mul(summands(l, l.wide()), summands(l, l.wide()))),
    right: (l) => sumOf(mul(l.down.call(l.wide()), l.down.call(l.wide()))),
    says: /mul: .*partial sum over tp.*used as a whole value/,
  },
  {
    name: 'the largest of summands is taken',
    inBackward: false,
    wrong: (l) => summands(l, l.wide()).max(),
    right: (l) => (l.down.call(l.wide()) as Any).max(),
    says: /max: .*partial sum over tp.*used as a whole value/,
  },
  {
    name: 'a loss over the whole vocabulary reads logits of a part of it',
    inBackward: false,
    wrong: (l) => sumOf(crossEntropy(l.logits(l.stream()), tokens().mul(0))),
    right: (l) => sumOf(vocabParallelCrossEntropy(l.logits(l.stream()), tokens(), l.ctx.tp)),
    says: /crossEntropy: .*partial (max|sum) over tp.*used as a whole value/,
  },
  {
    name: 'a vocabulary-parallel loss reads logits that were gathered',
    inBackward: false,
    wrong: (l) => {
      const half = slice(gatherFromTensorParallelRegion(l.logits(l.stream()), l.ctx.tp), -1, { start: 0, end: vocab / 2 });
      return sumOf(vocabParallelCrossEntropy(half as Any, tokens(), l.ctx.tp));
    },
    right: (l) => sumOf(crossEntropy(gatherFromTensorParallelRegion(l.logits(l.stream()), l.ctx.tp), tokens())),
    says: /allReduce: .*is whole on every rank already/,
  },
  {
    name: 'a whole vector is added to a part that happens to be as long',
    inBackward: false,
    wrong: (l) => sumOf(add(l.wide(), l.vector as Any)),
    right: (l) => wholeLoss(l, add(l.wide(), l.up.bias as Any)),
    says: /add: \[4, 2, 8\] \(hidden sharded over tp\) beside \[8\] \(replicated\) do not belong to the same ranks' elements/,
  },
  {
    name: 'a column-parallel product reads a cut sequence that nobody gathered',
    inBackward: false,
    wrong: (l) => sumOf(l.up.call(l.cutNorm.call(l.cutStream()) as Any)),
    right: (l) => wholeLoss(l, l.cutUp.call(l.cutNorm.call(l.cutStream()) as Any)),
    says: /^up: linear: \[2, 2, 8\] \(sequence sharded over tp\) times \[8, 8\] \(hidden sharded over tp\).*Gather the input/,
  },
  {
    name: 'rows are normed of which each rank holds a part',
    inBackward: false,
    wrong: (l) => sumOf(layerNorm(l.wide(), vectorsOf(l.norm))),
    right: (l) => sumOf(layerNorm(l.down.call(l.wide()), vectorsOf(l.norm))),
    says: /layerNorm: \[4, 2, 8\] \(hidden sharded over tp\) is normed over its last dim.*Gather it over tp first/,
  },
  {
    name: "means of the ranks' parts are added up",
    inBackward: false,
    wrong: (l) => allReduce(l.wide().mean(), { group: l.ctx.tp }).wait(),
    right: (l) => allReduce(l.wide().mean(), { group: l.ctx.tp, op: 'avg' }).wait(),
    says: /allReduce: \[\] \(partial mean over tp, since mean\) needs the reduction avg, not sum/,
  },
  {
    name: 'parts are added up instead of gathered',
    inBackward: false,
    wrong: (l) => sumOf(allReduce(l.wide(), { group: l.ctx.tp }).wait()),
    right: (l) => sumOf(gatherFromTensorParallelRegion(l.wide(), l.ctx.tp)),
    says: /allReduce: .*hidden sharded over tp\) would be mixed by allReduce.*Gather it instead/,
  },
  {
    name: 'what every rank holds is gathered',
    inBackward: false,
    wrong: (l) => sumOf(gatherFromSequenceParallelRegion(l.stream(), l.ctx.tp)),
    right: (l) => wholeLoss(l, l.cutUp.call(l.cutStream())),
    says: /allGather: .*\(replicated\) is gathered over tp, but every rank holds it whole already/,
  },
  {
    name: 'summands are gathered instead of reduced',
    inBackward: false,
    wrong: (l) => sumOf(allGather(summands(l, l.wide()), { group: l.ctx.tp }).wait()),
    right: (l) => sumOf(l.down.call(l.wide())),
    says: /allGather: .*partial sum over tp.*reduce it instead/,
  },
  {
    name: 'attention reads a cut sequence',
    inBackward: false,
    wrong: (l) => sumOf(selfAttention(cat3(l.cutStream()), heads)),
    right: (l) => sumOf(selfAttention(cat3(l.stream()), heads)),
    says: /selfAttention: .*sequence sharded over tp\) is a part of the sequence, but every query needs all keys/,
  },
  {
    name: 'a cut sequence is turned as if each part began at position 0',
    inBackward: false,
    wrong: (l) => sumOf(rotaryEmbedding(cat3(l.cutStream()), turning())),
    right: (l) => sumOf(rotaryEmbedding(cat3(l.stream()), turning())),
    says: /rotaryEmbedding: .*is a part of the sequence.*Give positions, or gather it/,
  },
  {
    name: 'an own operation does not say where its output lives',
    inBackward: false,
    wrong: (l) => sumOf(silent(l.wide())),
    right: (l) => wholeLoss(l, spoken(l.wide())),
    says: /doubled: the placement of its output is unknown.*Give defineOp a placement/,
  },
  {
    name: 'an own operation calls whole what its forward left cut',
    inBackward: false,
    wrong: (l) => sumOf(lying(l.wide())),
    right: (l) => sumOf(lying(l.stream())),
    says: /lying: its placement says replicated, but forward made \[4, 2, 8\] \(hidden sharded over tp\)/,
  },
  {
    name: 'the number of a loss is read while each rank holds a summand of it',
    inBackward: false,
    wrong: (l) => {
      void (sumOf(l.wide()).item() as number);
      return l.wide().sum();
    },
    right: (l) => reduceFromTensorParallelRegion(sumOf(l.wide()), l.ctx.tp),
    says: /item: \[\] \(partial sum over tp, since sum\) is used as a whole value/,
  },
  {
    name: 'backward begins at a summand of the loss',
    inBackward: false,
    wrong: (l) => sumOf(l.wide()),
    right: (l) => reduceFromTensorParallelRegion(sumOf(l.wide()), l.ctx.tp),
    says: /backward: \[\] \(partial sum over tp, since sum\) is used as a whole value/,
  },
  {
    name: 'a column-parallel product reads the stream without entering the region, and a norm before it gets summands',
    inBackward: true,
    wrong: (l) => sumOf(l.down.call(linear(l.norm.call(l.stream()), l.up.weight as Any) as Any)),
    right: (l) => sumOf(l.down.call(l.up.call(l.norm.call(l.stream())) as Any)),
    says: /of layerNorm in norm.*the gradient of parameter "norm\.weight" is \[8\] \(partial sum over tp.*copyToTensorParallelRegion/,
  },
  {
    name: 'logits are made without entering the region, and a reduction before them gets summands',
    inBackward: true,
    wrong: (l) => sumOf(vocabParallelCrossEntropy(linear(l.stream(), l.words.weight as Any) as Any, tokens(), l.ctx.tp)),
    right: (l) => sumOf(vocabParallelCrossEntropy(l.logits(l.stream()), tokens(), l.ctx.tp)),
    says: /of reduceFromTensorParallelRegion in words.*for a value that is partial sum over tp: it would be summed again.*copyToTens/,
  },
  {
    name: 'a norm of a cut sequence does not say that its gradient is a summand',
    inBackward: true,
    wrong: (l) => wholeLoss(l, l.cutDown.call(l.cutUp.call(l.norm.call(l.cutStream()) as Any) as Any)),
    right: (l) => wholeLoss(l, l.cutDown.call(l.cutUp.call(l.cutNorm.call(l.cutStream()) as Any) as Any)),
    says: /"norm\.(weight|bias)" is \[8\] \(partial sum over tp.*nobody sums it over tp.*gradPartialOver/,
  },
  {
    name: 'a norm of a whole stream says that its gradient is a summand',
    inBackward: true,
    wrong: (l) => sumOf(l.down.call(l.up.call(l.cutNorm.call(l.stream())) as Any)),
    right: (l) => sumOf(l.down.call(l.up.call(l.norm.call(l.stream())) as Any)),
    says: /"cutNorm\.weight" is \[8\] \(replicated\) already, but gradPartialOver of its ParamMeta names tp/,
  },
  {
    name: 'the bias of a row-parallel layer is added to a cut sequence without saying that its gradient is a summand',
    inBackward: true,
    wrong: (l) => wholeLoss(l, biasAdd(reduceScatterToSequenceParallelRegion(summands(l, l.wide()), l.ctx.tp), l.vector)),
    right: (l) => wholeLoss(l, l.cutDown.call(l.wide())),
    says: /backward of biasAdd.*"vector" is \[8\] \(partial sum over tp/,
  },
  {
    name: 'learned positions are added to a cut sequence without saying that their gradient is a summand',
    inBackward: true,
    wrong: (l) => wholeLoss(l, add(l.cutStream(), rowsOf(l, l.positions))),
    right: (l) => sumOf(add(l.stream(), embedding(l.positions, positionsOf(0, seq)))),
    says: /backward of embedding.*"positions" is \[4, 8\] \(partial sum over tp/,
  },
  {
    name: 'one number scales parts, and its gradient is that of a part',
    inBackward: true,
    wrong: (l) => reduceFromTensorParallelRegion(sumOf(mul(l.wide(), l.scale as Any)), l.ctx.tp),
    right: (l) => reduceFromTensorParallelRegion(sumOf(mul(l.wide(), copyToTensorParallelRegion(l.scale, l.ctx.tp) as Any)), l.ctx.tp),
    says: /"scale" is \[1\] \(partial sum over tp, since .*sum.*copyToTensorParallelRegion/,
  },
  {
    name: 'a region is entered twice',
    inBackward: true,
    wrong: (l) => sumOf(l.down.call(l.up.call(copyToTensorParallelRegion(l.stream(), l.ctx.tp) as Any) as Any)),
    right: (l) => sumOf(l.down.call(l.up.call(l.stream()) as Any)),
    says: /backward of copyToTensorParallelRegion, allReduce: .*is whole on every rank already/,
  },
  {
    name: 'a region is left by an operation that reduces in backward too',
    inBackward: true,
    wrong: (l) => sumOf(reducedBothWays(summands(l, l.wide()), l.ctx)),
    right: (l) => sumOf(reduceFromTensorParallelRegion(summands(l, l.wide()), l.ctx.tp)),
    says: /backward of reducedBothWays, allReduce: .*is whole on every rank already/,
  },
  {
    name: 'a gathered sequence is used by parts, and backward keeps rows instead of reduce-scattering them',
    inBackward: true,
    wrong: (l) => sumOf(l.down.call(linear(gatherWithoutScatter(l.cutStream(), l.ctx) as Any, l.up.weight as Any) as Any)),
    right: (l) => sumOf(l.down.call(linear(gatherFromSequenceParallelRegion(l.cutStream(), l.ctx.tp), l.up.weight as Any) as Any)),
    says: /backward of gatherWithoutScatter, gradient: .*partial sum over tp.*must reduce-scatter over tp, not slice/,
  },
  {
    name: 'a sequence gathered for parallel products is read whole by every rank, and the reduce-scatter counts its gradient for each',
    inBackward: true,
    wrong: (l) => sumOf(l.norm.call(gatherFromSequenceParallelRegion(l.cutStream(), l.ctx.tp) as Any)),
    right: (l) => wholeLoss(l, l.cutNorm.call(l.cutStream())),
    says: /backward of gatherFromSequenceParallelRegion, reduceScatter: .*is whole on every rank already/,
  },
  {
    name: 'a sequence is cut by an operation whose backward does not gather',
    inBackward: true,
    wrong: (l) => wholeLoss(l, cutWithoutGather(l.stream(), l.ctx)),
    right: (l) => wholeLoss(l, l.cutStream()),
    says: /backward of cutWithoutGather, gradient: .*sharded over tp\) arrives for a value that is replicated.*Gather it in backward/,
  },
  {
    name: 'gathered columns go into another parallel product, whose region nobody entered',
    inBackward: true,
    wrong: (l) => {
      const whole = slice(gatherFromTensorParallelRegion(l.wide(), l.ctx.tp), -1, { start: 0, end: hidden });
      return sumOf(l.down.call(linear(whole, l.up.weight as Any) as Any));
    },
    right: (l) => {
      const whole = slice(gatherFromTensorParallelRegion(l.wide(), l.ctx.tp), -1, { start: 0, end: hidden });
      return sumOf(l.down.call(l.up.call(whole as Any) as Any));
    },
    says: /backward of gatherFromTensorParallelRegion, gradient: .*partial sum over tp.*arrives for a value that is hidden sharded over tp/,
  },
  {
    name: 'a loss is differentiated by a leaf that a parallel product read by parts',
    inBackward: true,
    wrong: (l) => leafLoss(l, (x) => linear(x, l.up.weight as Any)),
    right: (l) => leafLoss(l, (x) => l.up.call(x)),
    says: /backward of linear, gradient: .*arrives for a leaf \[4, 2, 8\], and nobody sums it over tp/,
  },
];

/** Three copies side by side, as queries, keys and values `[s, b, 3 h]`. */
function cat3(x: Any): Any {
  const [rows, samples, width] = x.shape as [number, number, number];
  return x
    .reshape([rows, samples, 1, width])
    .expand([rows, samples, 3, width])
    .reshape([rows, samples, 3 * width]);
}

/** Scale and shift of a norm. */
function vectorsOf({ weight, bias }: LayerNorm) {
  return { weight, bias };
}

function turning() {
  return { table: tensor(new Float32Array(seq * 4).fill(0.5), [seq, 4]), numHeads: 2, headDim: hidden / 2 };
}

/** The loss of a cut stream, over all ranks. */
function wholeLoss({ ctx }: Layers, x: Any): AnyTensor {
  return reduceFromTensorParallelRegion(sumOf(x), ctx.tp);
}

function positionsOf(start: number, end: number): Any {
  return tensor(
    Int32Array.from({ length: end - start }, (_, i) => start + i),
    [end - start, 1],
  );
}

/** This rank's rows of a table of positions, `[s / t, 1, h]`. */
function rowsOf({ ctx }: Layers, table: Parameter): Any {
  const rows = seq / ctx.tp.size;
  return embedding(table, positionsOf(ctx.tp.rank * rows, (ctx.tp.rank + 1) * rows));
}

function leafLoss(l: Layers, product: (x: Any) => Any): AnyTensor {
  const x = tensor(new Float32Array(seq * batch * hidden).fill(1), [seq, batch, hidden], { requiresGrad: true });
  const loss = sumOf(l.down.call(product(x)));
  backward([loss]);
  return l.scale.sum();
}
