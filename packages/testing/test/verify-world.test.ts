import { allReduce, type ParallelContext, recv, send } from '@megatron-ts/process-groups';
import { empty, tensor } from '@megatron-ts/tensor';
import { verifyWorld } from '@megatron-ts/testing';
import { describe, expect, it } from 'vitest';

const world = { worldSize: 64, tensorModelParallelSize: 4, pipelineModelParallelSize: 4 };

/** A step as a stage makes it: what the stage before sends, sums over tp, on to the next stage, and gradients over dp. */
function step(ctx: ParallelContext, n: number): void {
  ctx.step(n, () => {
    const { pp, tp, dp } = ctx;
    const x = tensor([1, 2, 3]);
    if (!ctx.isFirstStage) recv(empty([3]), { group: pp, peer: pp.rank - 1 }).wait();
    allReduce(x, { group: tp, label: 'layer' }).wait();
    if (!ctx.isLastStage) send(x, { group: pp, peer: pp.rank + 1 }).wait();
    allReduce(x, { group: dp, label: 'gradients' }).wait();
  });
}

/** Two steps, between which rank 37 does `mistake`. */
function mistaken(mistake: (ctx: ParallelContext) => void) {
  return verifyWorld(world, (ctx) => {
    step(ctx, 0);
    if (ctx.world.rank === 37) ctx.step(1, () => mistake(ctx));
    else ctx.step(1, () => undefined);
    step(ctx, 2);
  });
}

describe('verifyWorld on 64 ranks', () => {
  it('proves a program whose ranks agree', async () => {
    const { ok, problems, operations, groups } = await verifyWorld(world, (ctx) => step(ctx, 0));
    expect({ ok, problems }).toEqual({ ok: true, problems: [] });
    const messages = 2 * 3 * (64 / 4);
    expect({ operations, groups }).toEqual({ operations: 64 * 3 + messages, groups: 16 + 16 + 16 + 1 });
  });

  it('names a rank that calls what the others do not', async () => {
    const { ok, problems } = await mistaken((ctx) => void allReduce(tensor([1]), { group: ctx.dp, label: 'mean loss' }).wait());
    expect(ok).toBe(false);
    expect(problems[0]).toMatch(
      /^rank 37 calls allReduce#2 f32\[1\] sum \(mean loss\) on group dp .*where ranks .* call allReduce#2 f32\[3\] sum/,
    );
  });

  it('names a rank that sends what nobody receives', async () => {
    const { ok, problems } = await mistaken((ctx) => void send(tensor([1]), { group: ctx.pp, peer: 0 }).wait());
    expect(ok).toBe(false);
    expect(problems.join('\n')).toMatch(/rank 37 sends .* on group pp .*never receives it/);
  });

  it('names ranks that would wait in a circle, where nothing is buffered', async () => {
    const { ok, problems } = await verifyWorld(world, (ctx) =>
      ctx.step(0, () => {
        const { tp } = ctx;
        send(tensor([1]), { group: tp, peer: (tp.rank + 1) % tp.size }).wait();
        recv(empty([1]), { group: tp, peer: (tp.rank + tp.size - 1) % tp.size }).wait();
      }),
    );
    expect(ok).toBe(false);
    expect(problems[0]).toMatch(/^deadlock: rank 0 waits in send#1 .* for rank 1, .* for rank 2, .* for rank 3, .* for rank 0\. /);
  });
});
