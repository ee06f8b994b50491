/**
 * Sends every message back to where it came from.
 *
 * ```sh
 * deno task echo --port 9001
 * ```
 *
 * @module
 */

import type { SendMessageOptions } from "../mod.ts";
import {
  portFlag,
  readFlags,
  runServer,
  SERVER_FLAGS,
} from "./_command_line.ts";

const AS_TEXT: SendMessageOptions = { type: "text" };
const AS_BINARY: SendMessageOptions = { type: "binary" };

if (import.meta.main) {
  const flags = readFlags("Sends every message back to where it came from.", {
    port: portFlag(9001),
    ...SERVER_FLAGS,
    "max-message-size": {
      type: "number",
      default: undefined,
      help: "the largest message, in bytes",
    },
    "max-fragments": {
      type: "number",
      default: undefined,
      help: "how many fragments a message may have; 0 for any number",
    },
  });
  runServer("ws", flags, {
    // An echo has no secrets: any page may talk to it.
    origins: ["*"],
    // Text goes back as the bytes that it came as; nobody here reads it.
    textAs: "bytes",
    ...(flags["max-message-size"] !== undefined &&
      { maxMessageSize: flags["max-message-size"] }),
    ...(flags["max-fragments"] !== undefined &&
      { maxFragments: flags["max-fragments"] || Infinity }),
    onConnection: (ws) =>
      ws.forEach((message, type) =>
        ws.send(message, type === "text" ? AS_TEXT : AS_BINARY)
      ),
  });
}
