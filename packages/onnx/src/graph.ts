import { create } from '@bufbuild/protobuf';
import {
  type AttributeProto,
  AttributeProto_AttributeType as AttributeType,
  AttributeProtoSchema,
  type NodeProto,
  NodeProtoSchema,
  type TensorProto,
  TensorProto_DataType as DataType,
  TensorProtoSchema,
} from './generated/onnx_pb.ts';

/** Name of a value that flows through a graph. */
export type Value = string;

/** What an attribute of a node may be; whole numbers are integers unless they are boxed as `{ float }`. */
export type Attribute = number | string | readonly number[] | { readonly float: number };

/**
 * Nodes in the order in which they run, constants, and the names of the weights they use. Every value is made once, so that a graph
 * is built by calling functions that take and return names.
 */
export class Graph {
  /** What runs. */
  readonly nodes: NodeProto[] = [];
  /** Names of weights in use. */
  readonly weights = new Set<Value>();
  private readonly constants = new Map<string, TensorProto>();
  private path = '';

  /** Constants, each once. */
  get constantTensors(): TensorProto[] {
    return [...this.constants.values()];
  }

  /** Names what `f` adds after a module of the model. */
  within<T>(path: string, f: () => T): T {
    const outer = this.path;
    this.path = path;
    try {
      return f();
    } finally {
      this.path = outer;
    }
  }

  /** Adds a node of one output and returns the output's name. */
  node(op: string, inputs: readonly Value[], attributes: Readonly<Record<string, Attribute>> = {}): Value {
    const name = `${this.path}/${op}_${this.nodes.length}`;
    const attribute = Object.entries(attributes).map(([key, value]) => attributeOf(key, value));
    this.nodes.push(create(NodeProtoSchema, { name, opType: op, input: [...inputs], output: [name], attribute }));
    return name;
  }

  /** Gives a value that a node has made, and nobody has used, a name of its own. */
  rename(value: Value, name: string): void {
    for (const node of this.nodes) if (node.output[0] === value) node.output = [name];
  }

  /** A weight of the model, under its own name. */
  weight(name: string): Value {
    this.weights.add(name);
    return name;
  }

  /** A constant list of int64. */
  ints(values: readonly number[]): Value {
    const bytes = new Uint8Array(BigInt64Array.from(values, BigInt).buffer);
    return this.constant(`int64[${values.join()}]`, { dims: [BigInt(values.length)], dataType: DataType.INT64, rawData: bytes });
  }

  /** A constant int64. */
  int(value: number): Value {
    const bytes = new Uint8Array(BigInt64Array.of(BigInt(value)).buffer);
    return this.constant(`int64 ${value}`, { dims: [], dataType: DataType.INT64, rawData: bytes });
  }

  /** A constant float. */
  float(value: number): Value {
    const bytes = new Uint8Array(Float32Array.of(value).buffer);
    return this.constant(`float ${value}`, { dims: [], dataType: DataType.FLOAT, rawData: bytes });
  }

  /** A constant tensor of floats. */
  floats(name: string, values: Float32Array, shape: readonly number[]): Value {
    const bytes = new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
    return this.constant(name, { dims: shape.map(BigInt), dataType: DataType.FLOAT, rawData: bytes });
  }

  private constant(name: string, form: { readonly dims: bigint[]; readonly dataType: number; readonly rawData: Uint8Array }): Value {
    if (!this.constants.has(name)) this.constants.set(name, create(TensorProtoSchema, { name, ...form }));
    return name;
  }
}

function attributeOf(name: string, value: Attribute): AttributeProto {
  if (typeof value === 'number') return create(AttributeProtoSchema, { name, type: AttributeType.INT, i: BigInt(value) });
  if (typeof value === 'string')
    return create(AttributeProtoSchema, { name, type: AttributeType.STRING, s: new TextEncoder().encode(value) });
  if ('float' in value) return create(AttributeProtoSchema, { name, type: AttributeType.FLOAT, f: value.float });
  return create(AttributeProtoSchema, { name, type: AttributeType.INTS, ints: value.map(BigInt) });
}
