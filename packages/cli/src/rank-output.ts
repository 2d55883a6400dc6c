/** A stream of text, such as `process.stdout`. */
export interface TextStream {
  /** Writes text. */
  write(text: string): unknown;
  /** Width, where it is a terminal. */
  readonly columns?: number;
}

/** Where ranks' output goes. */
export interface OutputTargets {
  /** What ranks print. */
  readonly stdout: TextStream;
  /** What ranks print as errors. */
  readonly stderr: TextStream;
  /** The rank whose unfinished line is shown on the terminal and redrawn; undefined where there is no terminal. */
  readonly liveRank: number | undefined;
}

/** Returns to the start of a terminal's line and clears it. */
const clearLine = '\r\u001B[K';

/** What remains visible of a line that was drawn over: the part after its last return to the start. */
function visiblePart(line: string): string {
  const plain = line.replaceAll(/\u001B\[[0-2]?K/g, '').replace(/\r+$/, '');
  return plain.slice(plain.lastIndexOf('\r') + 1);
}

/** Many ranks on one terminal: whole lines, each with its rank in front, above the live rank's unfinished one. */
export class RankOutput {
  private readonly targets: OutputTargets;
  private readonly unfinished = new Map<string, string>();
  private shown = '';

  constructor(targets: OutputTargets) {
    this.targets = targets;
  }

  /** Takes a piece of a rank's output. */
  write(rank: number, stream: 'stdout' | 'stderr', chunk: string): void {
    const key = `${rank} ${stream}`;
    const lines = ((this.unfinished.get(key) ?? '') + chunk).split('\n');
    const rest = lines.pop() ?? '';
    this.unfinished.set(key, rest);
    const isLive = rank === this.targets.liveRank && stream === 'stdout';
    const live = isLive ? this.liveLine(rank, rest) : this.shown;
    if (lines.length > 0) this.clear();
    for (const line of lines) this.print(rank, stream, line);
    this.show(live);
  }

  /** Prints the lines that were left unfinished. */
  end(): void {
    this.clear();
    for (const [key, rest] of this.unfinished) {
      const [rank, stream] = key.split(' ');
      if (rest !== '') this.print(Number(rank), stream as 'stdout' | 'stderr', rest);
    }
    this.unfinished.clear();
  }

  private print(rank: number, stream: 'stdout' | 'stderr', line: string): void {
    this.targets[stream].write(`[rank ${rank}] ${visiblePart(line)}\n`);
  }

  /** A line that would wrap cannot be drawn over, so it is cut at the terminal's width. */
  private liveLine(rank: number, rest: string): string {
    const text = visiblePart(rest);
    return text === '' ? '' : `[rank ${rank}] ${text}`.slice(0, (this.targets.stdout.columns ?? 80) - 1);
  }

  private clear(): void {
    if (this.shown !== '') this.targets.stdout.write(clearLine);
    this.shown = '';
  }

  private show(line: string): void {
    if (line === this.shown) return;
    this.targets.stdout.write(this.shown === '' ? line : `${clearLine}${line}`);
    this.shown = line;
  }
}
