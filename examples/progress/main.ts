/**
 * How far is the job? Asked again and again, asked and kept waiting, and told by
 * a WebSocket: the three side by side on a page, with what each of them costs.
 *
 * ```sh
 * deno task progress --port 8009
 * deno task progress:measure # the figures, without a browser
 * ```
 *
 * @module
 */

import { HOST_FLAG, portFlag, readFlags, runServer } from "../_command_line.ts";
import { readPage } from "../_page.ts";
import { Progress } from "./progress.ts";

if (import.meta.main) {
  const flags = readFlags("Serves three ways to learn how far a job is.", {
    port: portFlag(8009),
    ...HOST_FLAG,
  });
  const page = await readPage(new URL("index.html", import.meta.url));
  const progress = new Progress(page);
  await runServer("http", flags, progress.serveOptions);
}
