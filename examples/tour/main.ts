/**
 * A guided tour of the protocol: a page, a WebSocket to the server that serves
 * it, and every frame of that WebSocket drawn as RFC 6455 §5.2 draws it.
 *
 * ```sh
 * deno task demo
 * ```
 *
 * On any other path the server sends every message back to where it came from,
 * so `new WebSocket("ws://127.0.0.1:8001")` in any browser's console works.
 *
 * @module
 */
import { permessageDeflate } from "../../deflate.ts";
import type { Acceptance, UpgradeRequest } from "../../mod.ts";
import {
  portFlag,
  readFlags,
  runServer,
  SERVER_FLAGS,
} from "../_command_line.ts";
import { readPages } from "./pages.ts";
import { checkOrigin, Visits } from "./visits.ts";
import { Wiretap } from "./wiretap.ts";

/** How much of a payload the page is shown, in bytes. */
const SHOWN = 512;

// Short messages too, so that there is something to see.
const compression = permessageDeflate({ threshold: 0 });
const inflation = permessageDeflate({ threshold: 0 });

function onRequest(request: UpgradeRequest): Acceptance {
  checkOrigin(request);
  const { searchParams } = new URL(request.target, "http://tour");
  return { extensions: searchParams.has("deflate") ? [compression] : [] };
}

if (import.meta.main) {
  const flags = readFlags("Serves a guided tour of the WebSocket protocol.", {
    port: portFlag(8001),
    ...SERVER_FLAGS,
  });
  const pages = await readPages();
  const visits = new Visits();
  runServer("http", flags, {
    handler: pages,
    origins: ["*"], // checkOrigin() judges them
    onRequest,
    onConnection: (ws) => visits.serve(ws),
    tap: (conn) =>
      new Wiretap(conn, {
        keep: SHOWN,
        extensions: [inflation],
        onUpgrade: (handshake) => visits.find(handshake),
      }),
    maxConnections: 1000,
    maxConnectionsPerAddress: 100,
  });
}
