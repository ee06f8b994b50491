/** The programs behind the tasks of `deno.json`, with the permissions of each. */
import { Program } from "./_program.ts";

const CONFIG = Deno.env.get("DENO_TASK_CONFIG") || "deno.json";

/** Runs what a task runs. */
export async function startTask(
  task: string,
  ...args: string[]
): Promise<Program> {
  const { tasks } = JSON.parse(
    await Deno.readTextFile(new URL("../deno.json", import.meta.url)),
  );
  const [, run = ""] = /&& deno (run .*)$/.exec(tasks[task].command) ?? [];
  const [command = "", ...rest] = run.replace("$DENO_TASK_CONFIG", CONFIG)
    .split(" ");
  const flags = ["--no-prompt", ...rest, ...args];
  return new Program(Deno.execPath(), [command, ...flags]);
}

/** Starts the server of a task, and waits until it listens. */
export async function startServer(
  task: string,
  ...args: string[]
): Promise<{ program: Program; url: string; port: number }> {
  const program = await startTask(task, "--port", "0", ...args);
  try {
    const [, url = ""] = await program.expect(/^Listening on (\S+)$/m);
    return { program, url, port: Number(new URL(url).port) };
  } catch (error) {
    await program[Symbol.asyncDispose]();
    throw error;
  }
}
