import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ByteTokenizer, MicrobatchSampler, readTokens, splitTokens } from '../src/index.ts';
import { philox } from '../src/philox.ts';
import { sampleStart } from '../src/sample-start.ts';

const text = Uint8Array.from({ length: 1000 }, (_, index) => (index * 7) % 251);
const sizes = { tokens: text, sequenceLength: 16, globalBatchSize: 24, microbatchSize: 3, seed: 1234 };

describe('readTokens', () => {
  let folder: string;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'tokens-'));
  });
  afterAll(() => rm(folder, { recursive: true }));

  it('reads a text as bytes', async () => {
    const path = join(folder, 'text.txt');
    await writeFile(path, 'Ås!');
    const { tokens, vocabularySize } = await readTokens(path);
    expect([...tokens]).toEqual([0xc3, 0x85, 0x73, 0x21]);
    expect(vocabularySize).toBe(256);
  });

  it('names the path and the cause when the file cannot be read', async () => {
    const path = join(folder, 'none.txt');
    await expect(readTokens(path)).rejects.toThrow(
      `readTokens: ${JSON.stringify(path)} cannot be read (ENOENT: no such file or directory). `
        + 'Give the path of a text file that this user may read.',
    );
    await expect(readTokens(folder)).rejects.toMatchObject({ name: 'ConfigError', code: 'UNREADABLE_DATA', cause: { code: 'EISDIR' } });
    const empty = join(folder, 'empty.txt');
    await writeFile(empty, '');
    await expect(readTokens(empty)).rejects.toThrow(`readTokens: ${JSON.stringify(empty)} is empty. Give the path of a text file.`);
  });
});

describe('splitTokens', () => {
  it('keeps the last part back and loses nothing', () => {
    const { train, validation } = splitTokens(text, 0.1);
    expect([train.length, validation.length]).toEqual([900, 100]);
    expect([...train, ...validation]).toEqual([...text]);
    expect(splitTokens(text, 0).validation.length).toBe(0);
    expect(() => splitTokens(text, 1)).toThrow(
      'splitTokens: validationFraction is 1. Use a number of at least 0 and below 1, such as 0.1.',
    );
  });
});

describe('ByteTokenizer', () => {
  const tokenizer = new ByteTokenizer();

  it('writes every text and reads it back', () => {
    for (const sample of ['', 'plain', 'Ærø, 日本, 🚂']) expect(tokenizer.decode(tokenizer.encode(sample))).toBe(sample);
  });

  it('shows bytes that are no text, and refuses tokens that are no bytes', () => {
    expect(tokenizer.decode([0x61, 0xff])).toBe('a\ufffd');
    expect(() => tokenizer.decode([97, 300])).toThrow('ByteTokenizer.decode: token 300 at position 1 is not a byte. Give tokens 0 to 255.');
  });
});

describe('philox', () => {
  it('gives the known answers of Random123', () => {
    expect(philox([0, 0, 0, 0], [0, 0])).toEqual([0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8]);
    const ones = 0xffffffff;
    expect(philox([ones, ones, ones, ones], [ones, ones])).toEqual([0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd]);
    expect(philox([0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344], [0xa4093822, 0x299f31d0])).toEqual([
      0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1,
    ]);
  });
});

describe('sampleStart', () => {
  it('spreads over all places, and differs between seeds and steps', () => {
    const starts = Array.from({ length: 2000 }, (_, globalSample) => sampleStart({ seed: 1, step: 0, globalSample }, 10));
    const counts = Array.from({ length: 10 }, (_, start) => starts.filter((other) => other === start).length);
    for (const count of counts) expect(Math.abs(count - 200)).toBeLessThan(60);
    const first = [0, 1, 2, 3].map((globalSample) => sampleStart({ seed: 1, step: 0, globalSample }, 1e6));
    expect([0, 1, 2, 3].map((globalSample) => sampleStart({ seed: 2, step: 0, globalSample }, 1e6))).not.toEqual(first);
    expect([0, 1, 2, 3].map((globalSample) => sampleStart({ seed: 1, step: 1, globalSample }, 1e6))).not.toEqual(first);
    expect([0, 1, 2, 3].map((globalSample) => sampleStart({ seed: 1 + 2 ** 32, step: 0, globalSample }, 1e6))).not.toEqual(first);
  });
});

describe('MicrobatchSampler', () => {
  it('gives [s, b] tokens whose targets are the tokens behind them', () => {
    const sampler = new MicrobatchSampler({ ...sizes, dataParallelSize: 2, dataParallelRank: 1 });
    const microbatches = sampler.step(5);
    expect(microbatches.length).toBe(4);
    for (const {
      tokens,
      targets,
      shape: [s, b],
    } of microbatches) {
      expect([s, b]).toEqual([16, 3]);
      // Behind each token of this text stands the one 7 higher, modulo 251.
      expect([...targets]).toEqual([...tokens].map((token) => (token + 7) % 251));
      for (let k = 0; k < b; k++) for (let i = 1; i < s; i++) expect(tokens[i * b + k]).toBe(targets[(i - 1) * b + k]);
    }
  });

  it('gives ranks together what one rank sees alone, in the same order', () => {
    for (const dataParallelSize of [1, 2, 4, 8]) {
      for (const step of [0, 1, 77]) {
        const alone = new MicrobatchSampler({ ...sizes, dataParallelSize: 1, dataParallelRank: 0 }).step(step);
        const together = Array.from({ length: dataParallelSize }, (_, dataParallelRank) =>
          new MicrobatchSampler({ ...sizes, dataParallelSize, dataParallelRank }).step(step),
        ).flat();
        expect(together).toEqual(alone);
        expect(together.flatMap(({ sampleIds }) => [...sampleIds])).toEqual(Array.from({ length: 24 }, (_, sample) => sample));
      }
    }
  });

  it('draws the same samples whatever the microbatch size', () => {
    const columns = (microbatchSize: number): number[][] =>
      new MicrobatchSampler({ ...sizes, microbatchSize, dataParallelSize: 1, dataParallelRank: 0 })
        .step(3)
        .flatMap(({ tokens, shape: [s, b] }) =>
          Array.from({ length: b }, (_, k) => Array.from({ length: s }, (_row, i) => tokens[i * b + k] as number)),
        );
    expect(columns(8)).toEqual(columns(1));
  });

  it('uses the whole text, to the last token', () => {
    const sampler = new MicrobatchSampler({ ...sizes, tokens: text.subarray(0, 18), dataParallelSize: 1, dataParallelRank: 0 });
    const ends = sampler.step(0).flatMap(({ targets, shape: [s, b] }) => [...targets.subarray((s - 1) * b)]);
    expect(new Set(ends)).toEqual(new Set([text[16], text[17]]));
  });

  it('refuses what cannot be sampled', () => {
    const make = (change: object) => () => new MicrobatchSampler({ ...sizes, dataParallelSize: 2, dataParallelRank: 0, ...change });
    expect(make({ globalBatchSize: 20 })).toThrow(
      'microbatches: globalBatchSize 20 is not divisible by microbatchSize 3 x data-parallel size 2 = 6. Use 18 or 24.',
    );
    expect(make({ dataParallelRank: 2 })).toThrow('MicrobatchSampler: dataParallelRank 2 is not below dataParallelSize 2. Use 0 to 1.');
    expect(make({ sequenceLength: 1000 })).toThrow(
      'MicrobatchSampler: 1000 tokens do not hold a sample of sequenceLength 1000 and the token behind it. '
        + 'Use a longer text or a shorter sequenceLength.',
    );
    expect(make({ seed: 0.5 })).toThrow('MicrobatchSampler: seed is 0.5. Use a whole number.');
    expect(() => make({})().step(-1)).toThrow('MicrobatchSampler: step is -1. Use a whole number of at least 0.');
  });
});
