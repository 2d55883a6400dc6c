import { ConfigError } from '@megatron-ts/errors';
import { ambient } from './ambient.ts';
import { initializeRemedy } from './initialize-remedy.ts';
import { type InitializationContext, Parameter } from './parameter.ts';
import { scope } from './scope.ts';
import { inSpan } from './spans.ts';

/** What may be told of a module's calls. */
export interface ModuleHooks {
  /** Before `forward`. */
  beforeForward?: (module: Module) => void;
  /** After `forward`. */
  afterForward?: (module: Module) => void;
  /** Before the first backward of an operation of a call. */
  beforeBackward?: (module: Module) => void;
  /** After the last backward of an operation of a call. */
  afterBackward?: (module: Module) => void;
}

/** A parameter or module found in a field, with its path. */
interface Found {
  readonly path: string;
  readonly value: Module | Parameter;
}

/**
 * A layer: parameters and other modules in its fields (also in arrays, Maps and plain objects), and a `forward`.
 * Constructors only describe; `initialize` names the parameters by their field path and fills them.
 */
export abstract class Module {
  /** Field path from the model, set by `initialize`; the class name before. */
  path: string;
  /** What is told of this module's calls. */
  readonly hooks: ModuleHooks = {};
  private initialized = false;

  constructor() {
    this.path = new.target.name;
  }

  /** The computation. Call it through `call`. */
  abstract forward(...args: never[]): unknown;

  /** `forward` in a scope of its own: temporaries do not outlive it, and errors name the module. */
  declare readonly call: this['forward'];

  /** Whether `initialize` has reached this module. */
  get isInitialized(): boolean {
    return this.initialized;
  }

  /**
   * Names every parameter below this module by its field path and fills it.
   * @throws ConfigError DUPLICATE_NAME, SHARED_CHILD
   */
  initialize(context: InitializationContext): this {
    const names = new Map<string, unknown>();
    const places = new Map<unknown, string>();
    visit(this, '', (path, value) => {
      const place = places.get(value);
      if (place !== undefined)
        throw new ConfigError(
          'SHARED_CHILD',
          `${this.constructor.name}.initialize: "${place}" and "${path}" are one ${value.constructor.name}. Build two, or use Parameter.tie() for a shared weight.`,
        );
      if (names.has(path))
        throw new ConfigError(
          'DUPLICATE_NAME',
          `${this.constructor.name}.initialize: two children are named "${path}". Rename a field or a key.`,
        );
      places.set(value, path);
      names.set(path, value);
      if (value instanceof Parameter) value.initialize(path, context);
      else value.enter(path);
    });
    this.enter(this.path);
    return this;
  }

  private enter(path: string): void {
    this.path = path;
    this.initialized = true;
  }

  /** Parameters below this module, in field order. */
  parameters(): Parameter[] {
    return [...this.namedParameters().values()];
  }

  /** Parameters by field path. */
  namedParameters(): Map<string, Parameter> {
    const found = new Map<string, Parameter>();
    visit(this, '', (path, value) => {
      if (value instanceof Parameter) found.set(path, value);
    });
    return found;
  }

  /** Modules below this one by field path, itself first under ''. */
  namedModules(): Map<string, Module> {
    const found = new Map<string, Module>([['', this]]);
    visit(this, '', (path, value) => {
      if (value instanceof Module) found.set(path, value);
    });
    return found;
  }

  /** Forgets the gradients of all parameters. */
  zeroGrad(): void {
    for (const parameter of this.parameters()) parameter.zeroGrad();
  }

  /** Releases the memory of all parameters. */
  dispose(): void {
    for (const parameter of this.parameters()) parameter.dispose();
  }
}

function call(this: Module, ...args: never[]): unknown {
  if (!this.isInitialized) throw notInitialized(this);
  const outer = ambient.frame;
  ambient.frame = { module: this, parent: outer };
  try {
    this.hooks.beforeForward?.(this);
    const output = inSpan(
      'module',
      () => this.path,
      () => scope(() => this.forward(...args)),
    );
    this.hooks.afterForward?.(this);
    return output;
  } finally {
    ambient.frame = outer;
  }
}
Object.defineProperty(Module.prototype, 'call', { value: call });

function notInitialized(module: Module): ConfigError {
  return new ConfigError('NOT_INITIALIZED', `${module.path}: used before initialize. ${initializeRemedy()}`);
}

function visit(module: Module, prefix: string, tell: (path: string, value: Module | Parameter) => void): void {
  for (const { path, value } of childrenOf(module, prefix)) {
    tell(path, value);
    if (value instanceof Module) visit(value, path, tell);
  }
}

function childrenOf(module: Module, prefix: string): Found[] {
  return Object.entries(module).flatMap(([key, value]) => (key === 'hooks' ? [] : found(value, prefix === '' ? key : `${prefix}.${key}`)));
}

function found(value: unknown, path: string): Found[] {
  if (value instanceof Module || value instanceof Parameter) return [{ path, value }];
  if (typeof value !== 'object' || value === null) return [];
  const inside =
    value instanceof Map
      ? [...value]
      : Array.isArray(value) || Object.getPrototypeOf(value) === Object.prototype
        ? Object.entries(value)
        : [];
  return inside.flatMap(([key, item]: [unknown, unknown]) => found(item, `${path}.${String(key)}`));
}
