/** What a process holds, as Linux tells it. */
export interface Usage {
  /** Resident memory, in MiB. */
  readonly rss: number;
  /** Open files. */
  readonly files: number;
}

/**
 * Asks other programs what a process holds: Deno itself reads /proc with
 * --allow-all only.
 */
export function usageOf(pid: number): Usage {
  const { stdout } = new Deno.Command("sh", {
    args: ["-c", `cat /proc/${pid}/status && ls /proc/${pid}/fd | wc -l`],
  }).outputSync();
  const text = new TextDecoder().decode(stdout);
  return {
    rss: Number(text.match(/^VmRSS:\s+(\d+)/m)![1]) / 1024,
    files: Number(text.match(/(\d+)\s*$/)![1]),
  };
}
