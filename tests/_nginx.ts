/** nginx for tests: unprivileged, at a free port, with a folder of its own. */
import { isInstalled } from "./_installed.ts";

/** Whether there is an nginx. */
export const hasNginx: boolean = await isInstalled("nginx", "-v");

/** An nginx that runs. */
export interface Nginx extends AsyncDisposable {
  readonly port: number;
}

/**
 * Starts nginx with what belongs into its block `http {}`.
 *
 * @param folder Where it keeps its files.
 * @param http Made for the port that it is to listen at.
 */
export async function startNginx(
  folder: string,
  http: (port: number) => string,
): Promise<Nginx> {
  // nginx cannot choose a port, and another program may take it in between.
  for (let attempts = 10;; attempts--) {
    const port = freePort();
    const file = `${folder}/nginx.conf`;
    await Deno.writeTextFile(file, configuration(folder, http(port)));
    const nginx = new Deno.Command("nginx", {
      args: ["-p", folder, "-c", file, "-e", "stderr"],
      stdin: "null",
      stdout: "null",
      stderr: "piped",
    }).spawn();
    const complaints = new Response(nginx.stderr).text();
    if (await isListening(nginx, `${folder}/nginx.pid`)) {
      return {
        port,
        async [Symbol.asyncDispose]() {
          nginx.kill("SIGTERM"); // its worker ends with it
          await complaints;
          await nginx.status;
        },
      };
    }
    if (attempts > 0 && /Address already in use/.test(await complaints)) {
      continue;
    }
    throw new Error(`nginx ended: ${await complaints}`);
  }
}

/** It writes its process id when it has its port. */
async function isListening(
  nginx: Deno.ChildProcess,
  pidFile: string,
): Promise<boolean> {
  let isEnded = false;
  nginx.status.then(() => isEnded = true);
  while (!isEnded) {
    const text = await Deno.readTextFile(pidFile).catch(() => "");
    if (text.trim() === `${nginx.pid}`) return true;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  return false;
}

function freePort(): number {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  return listener.addr.port;
}

function configuration(folder: string, http: string): string {
  const temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
    .map((name) => `${name}_temp_path ${folder}/${name};`);
  return [
    // Its worker runs as the user who runs the test.
    Deno.uid() === 0 ? "user root;" : "",
    "daemon off;",
    "worker_processes 1;",
    `pid ${folder}/nginx.pid;`,
    "events { worker_connections 64; }",
    "http {",
    "access_log off;",
    ...temporary,
    http,
    "}",
  ].join("\n");
}
