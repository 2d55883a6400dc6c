import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { runRanks } from '@megatron-ts/testing';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Comparison, failedChecks } from './checks.ts';
import { type PlantedMistake, plantedMistakes } from './planted-mistakes.ts';
import { readRun } from './recording.ts';
import { alone, dropouts, type Layout, layoutText, ranksFrom, type RunPlan, sizeOf, tiny } from './run-plan.ts';

const size = 4;
const layouts: readonly Layout[] = [...new Set(plantedMistakes.map(({ layout }) => layout))];
/** Models of which only some mistakes are. */
const models = [...new Set(plantedMistakes.flatMap(({ model }) => model ?? []))];
const others = models.map((model) => {
  const { layout } = plantedMistakes.find((mistake) => mistake.model === model) as PlantedMistake;
  return { model, layout, text: `${layoutText(layout)} with ${Object.keys(model).join(', ')}` };
});
const short = { ...tiny, model: { ...tiny.model, ...dropouts }, steps: 6, clipGradNorm: 0.5 };
const folder = mkdtempSync(join(tmpdir(), 'megatron-mistakes-'));

function plans(): RunPlan[] {
  const sound = [
    { ...short, name: layoutText(alone), layout: alone, ranks: [0] },
    { ...short, name: 'two groups', layout: alone, ranks: [1], accumulationGroups: 2 },
    ...layouts.map((layout, i) => ({ ...short, name: layoutText(layout), layout, ranks: pairOf(i + 1) })),
  ];
  const changed = others.flatMap(({ model, layout, text }, i) => {
    const common = { ...short, model: { ...short.model, ...model } };
    return [
      { ...common, name: aloneOf(model), layout: alone, ranks: [2 * i] },
      { ...common, name: text, layout, ranks: pairOf(i) },
    ];
  });
  const planted = plantedMistakes.map(({ name, layout, model }, i) => ({
    ...short,
    model: { ...short.model, ...model },
    name: `mistake ${i}`,
    mistake: name,
    layout,
    ranks: pairOf(i),
  }));
  return [...sound, ...changed, ...planted];
}

/** Neighbours in the list run side by side. */
function pairOf(index: number): number[] {
  return ranksFrom((index % 2) * 2, 2);
}

beforeAll(async () => {
  // Without the placement checker, which stops most of them before there is anything to compare.
  const env = { MEGATRON_TIMEOUT_MS: '60000', MEGATRON_SLOW_MS: '20000', MEGATRON_CHECK: '' };
  await runRanks(size, new URL('ranks/walk-runs.ts', import.meta.url), 'walkRuns', { args: [folder, plans()], env, timeoutMs: 240_000 });
});

afterAll(() => rmSync(folder, { recursive: true, force: true }));

function aloneOf(model: PlantedMistake['model']): string {
  return model === undefined ? layoutText(alone) : `alone with ${Object.keys(model).join(', ')}`;
}

function comparisonOf(name: string, { layout, model }: Pick<PlantedMistake, 'layout' | 'model'>): Comparison {
  const single = (other: string) => readRun(folder, { name: other, size: 1 });
  const whole = single(aloneOf(model));
  const sameBits = layout.tensor > 1 ? undefined : layout.data > 1 ? single('two groups') : whole;
  return { run: readRun(folder, { name, size: sizeOf(layout) }), alone: whole, sameBits };
}

describe('a mistake in the parallel code turns the comparison red', () => {
  it.each(layouts.map((layout) => ({ layout, text: layoutText(layout) })))('without a mistake $text is green', ({ layout, text }) => {
    expect([...failedChecks(comparisonOf(text, { layout }))]).toEqual([]);
  });

  it.each(others)('without a mistake $text is green', ({ text, ...other }) => {
    expect([...failedChecks(comparisonOf(text, other))]).toEqual([]);
  });

  it.each(plantedMistakes.map((mistake, index) => ({ ...mistake, index })))('$name', ({ index, caughtBy, ...mistake }) => {
    const failed = failedChecks(comparisonOf(`mistake ${index}`, mistake));
    expect([...failed.keys()]).toEqual(expect.arrayContaining([...caughtBy]));
  });
});
