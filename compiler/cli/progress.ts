/** What a command tells while it works, on stderr: one line that is overwritten on a terminal, at most one line a second elsewhere. */

export interface Progress {
  /** Begins the next step. */
  step(text: string): void;
  /** Tells how far the step is; terminals only. */
  detail(text: string): void;
  /** Takes the line away. */
  done(): void;
}

export function openProgress(total: number): Progress {
  let count = 0;
  let last = -Infinity;
  const terminal = process.stderr.isTTY;
  const show = (text: string): void => {
    const line = `[${count}/${total}] ${text}`;
    process.stderr.write(terminal ? `\r\x1b[K${line.slice(0, process.stderr.columns - 1)}` : `${line}\n`);
  };
  return {
    step(text) {
      count++;
      if (!terminal && performance.now() - last < 1000) return;
      last = performance.now();
      show(text);
    },
    detail(text) {
      if (terminal) show(text);
    },
    done() {
      if (terminal) process.stderr.write("\r\x1b[K");
    },
  };
}

export const seconds = (start: number): string => `${((performance.now() - start) / 1000).toFixed(1)} s`;
