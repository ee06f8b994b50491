/**
 * The flags of danmaku in many processes.
 *
 * @module
 */

import { type Flags, portFlag, SERVER_FLAGS } from "../_command_line.ts";
import { DANMAKU_FLAGS } from "../danmaku/flags.ts";

/** The flags that each process gets. */
export const WORKER_FLAGS = {
  port: portFlag(8003),
  hostname: SERVER_FLAGS.hostname,
  redis: {
    type: "text",
    default: "redis://127.0.0.1:6379",
    value: "URL",
    help: "what joins the processes; also rediss:// and unix:/PATH",
  },
  ...DANMAKU_FLAGS,
} as const satisfies Flags;
