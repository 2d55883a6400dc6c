import { create, toBinary } from '@bufbuild/protobuf';
import { type AnyTensor, CheckpointError, type WholeForm, type WholeSink } from '@megatron-ts/core';
import { createHash, type Hash } from 'node:crypto';
import { closeSync, fsyncSync, openSync, readdirSync, renameSync, rmSync, statSync, writeSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import {
  type ModelProto,
  type TensorProto,
  TensorProto_DataLocation as DataLocation,
  TensorProto_DataType as DataType,
  TensorProtoSchema,
  ModelProtoSchema,
} from './generated/onnx_pb.ts';

/** What is written and where. */
export interface ModelFileOptions {
  /** The model's path. */
  readonly path: string;
  /** Bytes of weights above which they go to a file of their own. */
  readonly externalDataAbove: number;
  /** Names of the weights that the graph uses, in the order in which they are written. */
  readonly weights: ReadonlySet<string>;
  /** The model around its weights. */
  readonly modelOf: (weights: TensorProto[]) => ModelProto;
}

/** A file under a temporary name, and the place in it. */
interface OpenFile {
  readonly path: string;
  readonly descriptor: number;
  position: number;
  isOpen: boolean;
}

// Where the weights of a model can be mapped into memory, large ones begin at a multiple of what every system maps by.
const mappedFrom = 2 ** 20;
const mapUnit = 2 ** 16;

/**
 * Writes a model as its weights come, one at a time. Nothing stands under the model's name before all of it does: files are written under
 * temporary names, and the data file is named for its contents, so that renaming the model is the one step that counts.
 */
export class ModelFile implements WholeSink {
  private readonly options: ModelFileOptions;
  private readonly tensors: TensorProto[] = [];
  private readonly hash: Hash = createHash('sha256');
  private model: OpenFile | undefined = undefined;
  private data: OpenFile | undefined = undefined;

  constructor(options: ModelFileOptions) {
    this.options = options;
  }

  /** @throws CheckpointError UNWRITABLE, INCOMPLETE */
  begin(forms: readonly WholeForm[]): ReadonlySet<string> {
    const { weights, path, externalDataAbove } = this.options;
    const there = new Map(forms.map((form) => [form.name, form]));
    const missing = [...weights].filter((name) => !there.has(name));
    if (missing.length > 0) throw incomplete(missing);
    const bytes = [...weights].reduce((sum, name) => sum + 4 * count(there.get(name)?.shape ?? []), 0);
    this.writing(() => {
      if (statSync(path, { throwIfNoEntry: false })?.isDirectory() === true) throw new Error('it is a folder');
      this.model = open(`${path}.${process.pid}.tmp`);
      if (bytes > externalDataAbove) this.data = open(`${path}.${process.pid}.data.tmp`);
    });
    return weights;
  }

  /** Values in any floating type become float. @throws CheckpointError UNWRITABLE */
  take({ name, shape }: WholeForm, values: AnyTensor): void {
    const floats = values.toArray();
    const bytes = new Uint8Array(floats.buffer, floats.byteOffset, floats.byteLength);
    const form = { name, dims: shape.map(BigInt), dataType: DataType.FLOAT };
    const { data } = this;
    if (data === undefined) {
      this.tensors.push(create(TensorProtoSchema, { ...form, rawData: bytes }));
      return;
    }
    this.hash.update(name).update(bytes);
    if (bytes.length >= mappedFrom) data.position = Math.ceil(data.position / mapUnit) * mapUnit;
    const externalData = [
      { key: 'offset', value: String(data.position) },
      { key: 'length', value: String(bytes.length) },
    ];
    this.writing(() => write(data, bytes));
    this.tensors.push(create(TensorProtoSchema, { ...form, dataLocation: DataLocation.EXTERNAL, externalData }));
  }

  /** @throws CheckpointError UNWRITABLE */
  end(): void {
    const { path, modelOf } = this.options;
    const { model, data } = this;
    if (model === undefined) return;
    this.writing(() => {
      const dataName = data === undefined ? undefined : `${basename(path)}.${this.hash.digest('hex').slice(0, 12)}.data`;
      if (dataName !== undefined) for (const { externalData } of this.tensors) pointTo(externalData, dataName);
      write(model, toBinary(ModelProtoSchema, modelOf(this.tensors)));
      if (data !== undefined && dataName !== undefined) publish(data, join(dirname(path), dataName));
      publish(model, path);
      this.model = this.data = undefined;
      removeOthers(path, dataName);
    });
  }

  /** Leaves nothing behind. */
  abort(): void {
    for (const file of [this.model, this.data]) {
      if (file === undefined) continue;
      close(file);
      rmSync(file.path, { force: true });
    }
    this.model = this.data = undefined;
  }

  private writing(f: () => void): void {
    try {
      f();
    } catch (cause) {
      const [why] = (cause instanceof Error ? cause.message : String(cause)).split(', '); // behind it stands the temporary path
      const sentence = `exportOnnx: "${this.options.path}" cannot be written: ${why}. Give a file in a folder that may be written and has room.`;
      throw new CheckpointError('UNWRITABLE', sentence, { fields: { path: this.options.path }, cause });
    }
  }
}

const count = (shape: readonly number[]) => shape.reduce((product, extent) => product * extent, 1);

function open(path: string): OpenFile {
  return { path, descriptor: openSync(path, 'w'), position: 0, isOpen: true };
}

function write(file: OpenFile, bytes: Uint8Array): void {
  for (let done = 0; done < bytes.length; ) {
    const written = writeSync(file.descriptor, bytes, done, Math.min(bytes.length - done, 2 ** 30), file.position);
    done += written;
    file.position += written;
  }
}

function close(file: OpenFile): void {
  if (file.isOpen) closeSync(file.descriptor);
  file.isOpen = false;
}

function publish(file: OpenFile, name: string): void {
  fsyncSync(file.descriptor);
  close(file);
  renameSync(file.path, name);
}

function pointTo(externalData: TensorProto['externalData'], location: string): void {
  externalData.unshift({ $typeName: 'onnx.StringStringEntryProto', key: 'location', value: location });
}

/** Data files of models that stood under this name before. */
function removeOthers(path: string, own: string | undefined): void {
  const start = `${basename(path)}.`;
  const isData = (name: string) => name.startsWith(start) && /^[0-9a-f]{12}\.data$/.test(name.slice(start.length));
  for (const name of readdirSync(dirname(path))) if (isData(name) && name !== own) rmSync(join(dirname(path), name));
}

function incomplete(missing: readonly string[]): CheckpointError {
  const more = missing.length > 1 ? ` and ${missing.length - 1} more` : '';
  const sentence = `exportOnnx: no rank brings "${missing[0]}"${more}. Give the model, or all its chunks, on every rank of the context.`;
  return new CheckpointError('INCOMPLETE', sentence, { fields: { missing } });
}
