import { memoryStats } from '@megatron-ts/tensor';
import { formatBytes, formatCount, formatDuration } from './format-quantity.ts';
import { memorySummary } from './memory-summary.ts';

/** What one step tells. */
export interface StepMetrics {
  /** Number of the step, from 0. */
  readonly step: number;
  /** Mean loss per token, in nats. */
  readonly loss: number;
  /** Global norm of the gradient before clipping. */
  readonly gradNorm: number;
  /** Tokens of all ranks per second. */
  readonly tokensPerSecond: number;
}

/** Where progress is shown. */
export interface ProgressOptions {
  /** Steps in all. */
  readonly totalSteps: number;
  /** What loss is measured in; `nats per token` by default. */
  readonly lossUnit?: string;
  /** Steps between two lines where lines cannot be redrawn; a twentieth of all by default. */
  readonly every?: number;
  /** Receives the text; standard output by default. */
  readonly write?: (text: string) => void;
  /** Whether one line can be redrawn; by default as standard output, or what the launcher says of it, can. */
  readonly isTerminal?: boolean;
  /** Milliseconds since some start; a clock for tests. */
  readonly now?: () => number;
}

/** Progress of a run: one redrawn line on a terminal, plain lines elsewhere, and after the last step where its memory went. */
export class Progress {
  private readonly totalSteps: number;
  private readonly lossUnit: string;
  private readonly every: number;
  private readonly write: (text: string) => void;
  private readonly isTerminal: boolean;
  private readonly now: () => number;
  private readonly started: number;
  private first: number | undefined = undefined;

  constructor({ totalSteps, lossUnit = 'nats per token', every, write, isTerminal, now = () => performance.now() }: ProgressOptions) {
    this.totalSteps = totalSteps;
    this.lossUnit = lossUnit;
    this.every = every ?? Math.max(1, Math.round(totalSteps / 20));
    this.write = write ?? ((text) => process.stdout.write(text));
    this.isTerminal = isTerminal ?? (process.stdout.isTTY || process.env['MEGATRON_PROGRESS'] === 'tty');
    this.now = now;
    this.started = now();
  }

  /** Shows a step; a loss that is no number is told in a line of its own. */
  step(metrics: StepMetrics): void {
    this.first ??= metrics.step;
    const isLast = metrics.step === this.totalSteps - 1;
    const line = this.line(metrics);
    if (this.isTerminal) this.write(`\r\u001b[2K${line}${isLast ? '\n' : ''}`);
    else if (isLast || metrics.step % this.every === 0) this.write(`${line}\n`);
    if (isLast) this.write(`${memorySummary()}\n`);
  }

  private line({ step, loss, gradNorm, tokensPerSecond }: StepMetrics): string {
    const done = step + 1 - (this.first ?? 0);
    const left = ((this.now() - this.started) / 1000 / done) * (this.totalSteps - step - 1);
    const { liveBytes, peakBytes } = memoryStats();
    const parts = [
      `step ${String(step + 1).padStart(String(this.totalSteps).length)}/${this.totalSteps}`,
      `loss ${loss.toFixed(3)} ${this.lossUnit}`,
      `grad norm ${gradNorm.toFixed(2)}`,
      `${formatCount(Math.round(tokensPerSecond))} tokens/s`,
      `${formatDuration(left)} left`,
      `memory ${formatBytes(liveBytes)} (peak ${formatBytes(peakBytes)})`,
    ];
    return parts.join(' · ');
  }
}
