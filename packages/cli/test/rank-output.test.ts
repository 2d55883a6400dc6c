import { describe, expect, it } from 'vitest';
import { RankOutput } from '../src/rank-output.ts';

/** A terminal, or a pipe, and all that was written to it. */
function screen(liveRank?: number, columns = 40) {
  let text = '';
  const stream = { write: (part: string) => (text += part), columns };
  return { output: new RankOutput({ stdout: stream, stderr: stream, liveRank }), text: () => text };
}

const clear = '\r\u001B[K';

describe('RankOutput', () => {
  it('writes whole lines with the rank in front, however they are cut', () => {
    const { output, text } = screen();
    output.write(0, 'stdout', 'one\ntw');
    output.write(1, 'stderr', 'other\n');
    output.write(0, 'stdout', 'o\n');
    output.write(1, 'stdout', 'open');
    output.end();
    expect(text()).toBe('[rank 0] one\n[rank 1] other\n[rank 0] two\n[rank 1] open\n');
  });

  it('keeps of a line that was drawn over what would remain visible', () => {
    const { output, text } = screen();
    output.write(0, 'stdout', '\rstep 1\u001B[K\rstep 2\u001B[K\n');
    expect(text()).toBe('[rank 0] step 2\n');
  });

  it("redraws the live rank's unfinished line on a terminal", () => {
    const { output, text } = screen(0);
    output.write(0, 'stdout', '\rstep 1');
    output.write(0, 'stdout', '\rstep 2');
    output.write(0, 'stdout', '\rstep 3\n');
    expect(text()).toBe(`[rank 0] step 1${clear}[rank 0] step 2${clear}[rank 0] step 3\n`);
  });

  it("puts other ranks' lines above the live line", () => {
    const { output, text } = screen(0);
    output.write(0, 'stdout', '\rstep 1');
    output.write(2, 'stderr', 'slow\n');
    output.end();
    expect(text()).toBe(`[rank 0] step 1${clear}[rank 2] slow\n[rank 0] step 1${clear}[rank 0] step 1\n`);
  });

  it('cuts the live line before it would wrap', () => {
    const { output, text } = screen(0, 16);
    output.write(0, 'stdout', 'a long line of progress');
    expect(text()).toBe('[rank 0] a long');
  });
});
