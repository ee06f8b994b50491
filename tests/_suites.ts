/**
 * The tests that need nothing but JavaScript, by what they test: the rows of
 * the table in `docs/runtimes.md`. `runtimes_test.ts` runs them in other
 * runtimes than Deno, and sees to it that none is missing here.
 */

/** Test files, and how to import each. */
export type Suite = Record<string, () => Promise<unknown>>;

export const SUITES: Record<string, Suite> = {
  "`frame`": {
    "frame_test.ts": () => import("./frame_test.ts"),
  },
  "`handshake`": {
    "handshake_test.ts": () => import("./handshake_test.ts"),
    "sha1_test.ts": () => import("./sha1_test.ts"),
  },
  "UTF-8": {
    "utf8_test.ts": () => import("./utf8_test.ts"),
    "utf8_simd_test.ts": () => import("./utf8_simd_test.ts"),
  },
  "`protocol`": {
    "protocol_test.ts": () => import("./protocol_test.ts"),
    "protocol_chunks_test.ts": () => import("./protocol_chunks_test.ts"),
    "protocol_closing_test.ts": () => import("./protocol_closing_test.ts"),
    "protocol_fragmentation_test.ts": () =>
      import("./protocol_fragmentation_test.ts"),
    "protocol_limits_test.ts": () => import("./protocol_limits_test.ts"),
    "protocol_property_test.ts": () => import("./protocol_property_test.ts"),
    "protocol_sending_test.ts": () => import("./protocol_sending_test.ts"),
    "protocol_utf8_test.ts": () => import("./protocol_utf8_test.ts"),
  },
  "`extension`": {
    "protocol_extension_test.ts": () => import("./protocol_extension_test.ts"),
  },
  "`prepared`": {
    "prepared_test.ts": () => import("./prepared_test.ts"),
  },
  "`deflate`": {
    "deflate_test.ts": () => import("./deflate_test.ts"),
    "deflate_negotiation_test.ts": () =>
      import("./deflate_negotiation_test.ts"),
  },
  "`connection`": {
    "connection_closing_test.ts": () => import("./connection_closing_test.ts"),
    "connection_property_test.ts": () =>
      import("./connection_property_test.ts"),
    "connection_receiving_test.ts": () =>
      import("./connection_receiving_test.ts"),
    "connection_sending_test.ts": () => import("./connection_sending_test.ts"),
    "connection_streams_test.ts": () => import("./connection_streams_test.ts"),
    "connection_timeouts_test.ts": () =>
      import("./connection_timeouts_test.ts"),
    "joined_parts_test.ts": () => import("./joined_parts_test.ts"),
    "output_test.ts": () => import("./output_test.ts"),
    "turns_shared_test.ts": () => import("./turns_shared_test.ts"),
    "turns_test.ts": () => import("./turns_test.ts"),
  },
  "`accept`, `connect`": {
    "connection_opening_test.ts": () => import("./connection_opening_test.ts"),
    "connection_rejections_test.ts": () =>
      import("./connection_rejections_test.ts"),
  },
  "`serve`": {
    "serve_memory_test.ts": () => import("./serve_memory_test.ts"),
  },
  "`hub`": {
    "hub_test.ts": () => import("./hub_test.ts"),
  },
  "`testing`": {
    "testing_test.ts": () => import("./testing_test.ts"),
  },
};
