/**
 * Danmaku, 弹幕: comments that fly over a picture, seen by all who are in the
 * room. Open it in several tabs.
 *
 * ```sh
 * deno task danmaku --port 8002
 * ```
 *
 * @module
 */

import {
  limitsOf,
  portFlag,
  readFlags,
  runServer,
  SERVER_FLAGS,
} from "../_command_line.ts";
import { Danmaku } from "./danmaku.ts";
import { DANMAKU_FLAGS } from "./flags.ts";

if (import.meta.main) {
  const flags = readFlags(
    "Serves rooms in which comments fly over a picture.",
    {
      port: portFlag(8002),
      hostname: SERVER_FLAGS.hostname,
      ...DANMAKU_FLAGS,
    },
  );
  const danmaku = await Danmaku.open({
    rate: flags.rate,
    roomRate: flags["room-rate"],
    gather: flags.gather,
  });
  const { port, hostname } = flags;
  const nowhereElse = { unix: undefined, cert: undefined, key: undefined };
  await runServer("http", { port, hostname, ...nowhereElse }, {
    ...danmaku.serveOptions,
    ...limitsOf(flags),
  });
}
