/**
 * The flags that danmaku has, in one process or in many.
 *
 * @module
 */

import { type Flags, LIMIT_FLAGS } from "../_command_line.ts";

/** What viewers may do. */
export const DANMAKU_FLAGS = {
  rate: {
    type: "number",
    default: 2,
    min: 1,
    help: "how many comments a second each viewer may make",
  },
  "room-rate": {
    type: "number",
    default: 100,
    min: 1,
    help: "how many all viewers of a room may make together",
  },
  gather: {
    type: "number",
    default: 40,
    max: 1000,
    help: "how long comments are gathered that go out together, in ms",
  },
  ...LIMIT_FLAGS,
} as const satisfies Flags;
