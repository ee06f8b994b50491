/** Memory and open files of a process, as Linux reports them. */
export interface Usage {
  /** Resident memory, in MiB. */
  readonly rss: number;
  /** Its maximum since {@linkcode forgetPeak}. */
  readonly peak: number;
  /** Open files. */
  readonly files: number;
}

/** Deno itself touches /proc with --allow-all only; other programs may. */
function shell(command: string): string {
  const { success, stdout, stderr } = new Deno.Command("sh", {
    args: ["-c", command],
  }).outputSync();
  const decoder = new TextDecoder();
  if (!success) throw new Error(decoder.decode(stderr));
  return decoder.decode(stdout);
}

/** Asks the system what a process holds. */
export function usageOf(pid: number): Usage {
  const text = shell(
    `cat /proc/${pid}/status && ls /proc/${pid}/fd | wc -l`,
  );
  const mebibytes = (name: string): number =>
    Number(text.match(new RegExp(`^${name}:\\s+(\\d+)`, "m"))![1]) / 1024;
  return {
    rss: mebibytes("VmRSS"),
    peak: mebibytes("VmHWM"),
    files: Number(text.match(/(\d+)\s*$/)![1]),
  };
}

/** Resets the peak to what is resident now (proc(5)). */
export function forgetPeak(pid: number): void {
  shell(`echo 5 > /proc/${pid}/clear_refs`);
}
