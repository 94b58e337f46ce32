/** What a command tells while it works, on stderr: one line that is overwritten on a terminal, lines elsewhere. */

/** Tells what is being done; on a terminal the line goes away with `done`. */
export interface Progress {
  step(text: string): void;
  done(): void;
}

export function openProgress(total: number): Progress {
  let count = 0;
  const terminal = process.stderr.isTTY;
  return {
    step(text) {
      const line = `[${++count}/${total}] ${text}`;
      if (terminal) process.stderr.write(`\r\x1b[K${line.slice(0, process.stderr.columns - 1)}`);
    },
    done() {
      if (terminal) process.stderr.write("\r\x1b[K");
    },
  };
}

export const seconds = (start: number): string => `${((performance.now() - start) / 1000).toFixed(1)} s`;
