/**
 * Sends every message back to where it came from.
 *
 * ```sh
 * deno task echo --port 9001
 * ```
 *
 * @module
 */

import type { SendOptions } from "../mod.ts";
import {
  LIMIT_FLAGS,
  limitsOf,
  portFlag,
  readFlags,
  runServer,
  SERVER_FLAGS,
} from "./_command_line.ts";

const AS_TEXT: SendOptions = { type: "text" };
const AS_BINARY: SendOptions = { type: "binary" };

if (import.meta.main) {
  const flags = readFlags("Sends every message back to where it came from.", {
    port: portFlag(9001),
    ...SERVER_FLAGS,
    ...LIMIT_FLAGS,
    "max-message-size": {
      type: "number",
      default: 16 * 1024 * 1024,
      help: "the largest message, in bytes",
    },
    "max-fragments": {
      type: "number",
      default: 131_072,
      help: "how many fragments a message may have; 0 for any number",
    },
    compress: { type: "switch", help: "compress messages (RFC 7692)" },
  });
  // The compressor is loaded only if it is needed.
  const extensions = flags.compress
    ? [(await import("../deflate.ts")).permessageDeflate()]
    : [];
  await runServer("ws", flags, {
    // An echo has no secrets: any page may talk to it.
    origins: ["*"],
    // Text goes back as it came: no string is made of it.
    textAs: "bytes",
    ...limitsOf(flags),
    maxMessageSize: flags["max-message-size"],
    maxFragments: flags["max-fragments"] || Infinity,
    extensions,
    onConnection: (ws) =>
      ws.forEach(
        (message, type) =>
          ws.send(message, type === "text" ? AS_TEXT : AS_BINARY),
        { reuseMemory: true },
      ),
  });
}
