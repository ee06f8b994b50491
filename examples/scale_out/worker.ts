/**
 * One of the processes that `main.ts` starts. It ends when its standard input
 * does, so that it never outlives the one that has started it.
 *
 * @module
 */

import { Hub, serve } from "../../mod.ts";
import {
  exitWith,
  limitsOf,
  readFlags,
  stopOnSignals,
  UsageError,
} from "../_command_line.ts";
import { Danmaku } from "../danmaku/danmaku.ts";
import { WORKER_FLAGS } from "./flags.ts";
import { reasonOf, RedisBackplane } from "./redis_backplane.ts";

async function connect(url: string): Promise<RedisBackplane> {
  try {
    return await RedisBackplane.connect(url, { onStatus: console.log });
  } catch (error) {
    throw new UsageError(
      `No Redis at ${withoutPassword(url)} (${
        reasonOf(error)
      }): start one with "redis-server", or say where one is with --redis redis://HOST:PORT`,
    );
  }
}

function withoutPassword(url: string): string {
  return url.replace(/\/\/[^@/]*@/, "//");
}

if (import.meta.main) {
  const flags = readFlags("Is started by main.ts.", {
    ...WORKER_FLAGS,
    name: { type: "text", default: "1", value: "NAME", help: "its name" },
  });
  try {
    const backplane = await connect(flags.redis);
    const { hostname, port } = flags;
    const listener = Deno.listen({ hostname, port, reusePort: true });
    const danmaku = await Danmaku.open({
      hub: new Hub({ backplane }),
      rate: flags.rate,
      roomRate: flags["room-rate"],
      gather: flags.gather,
      server: flags.name,
    });
    const server = serve(listener, {
      ...danmaku.serveOptions,
      ...limitsOf(flags),
    });
    stopOnSignals(async () => {
      await server.shutdown();
      return 0;
    });
    console.log(`Listening at port ${listener.addr.port}`);
    for await (const _ of Deno.stdin.readable); // until main.ts ends
    await server.shutdown();
    Deno.exit(0);
  } catch (error) {
    exitWith(error);
  }
}
