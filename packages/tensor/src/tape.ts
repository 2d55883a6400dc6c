import { ambient } from './ambient.ts';
import type { Node } from './node.ts';
import type { Parameter } from './parameter.ts';

/**
 * The record of one forward: nodes in the order they ran and how often each parameter was used.
 * A pipeline keeps one tape per (chunk, microbatch), several alive at once.
 */
export class Tape {
  private nodes: Node[] = [];
  private readonly uses = new Map<Parameter, number>();
  private readonly deferred: (() => void)[] = [];
  /** When true, weight gradients wait for `runWeightGradients` (zero-bubble schedules). */
  deferWeightGradients = false;

  /** Records `f` on this tape. */
  run<T>(f: () => T): T {
    const before = ambient.tape;
    ambient.tape = this;
    try {
      return f();
    } finally {
      ambient.tape = before;
    }
  }

  /** Adds a node and counts the parameters it uses. */
  push(node: Node): void {
    this.nodes.push(node);
    for (const input of node.inputs)
      if (input.asParameter !== undefined) this.uses.set(input.asParameter, (this.uses.get(input.asParameter) ?? 0) + 1);
  }

  /** One use of `parameter` is finished; after its last use in this forward its gradient is ready. */
  finishUse(parameter: Parameter): void {
    const left = (this.uses.get(parameter) ?? 0) - 1;
    this.uses.set(parameter, left);
    if (left === 0) parameter.gradReady();
  }

  /** Puts a weight gradient off. */
  defer(run: () => void): void {
    this.deferred.push(run);
  }

  /** Runs the weight gradients put off so far, in the order of their backward. */
  runWeightGradients(): void {
    for (const run of this.deferred.splice(0)) run();
  }

  /** Drops what no backward consumed. */
  dispose(): void {
    for (const node of this.nodes) node.free();
    this.nodes = [];
    this.uses.clear();
    this.deferred.length = 0;
  }
}
