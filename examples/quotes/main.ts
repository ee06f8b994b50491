/**
 * Quotes, as they come: a page that subscribes to what it wants to see, over one
 * WebSocket, compressed, and that is never further behind than it has to be.
 *
 * ```sh
 * deno task quotes --port 8008 --rate 4
 * ```
 *
 * @module
 */

import { HOST_FLAG, portFlag, readFlags, runServer } from "../_command_line.ts";
import { readPage } from "../_page.ts";
import { Quotes } from "./quotes.ts";

if (import.meta.main) {
  const flags = readFlags("Serves a market in which prices walk at random.", {
    port: portFlag(8008),
    ...HOST_FLAG,
    rate: {
      type: "number",
      default: 4,
      min: 1,
      max: 20,
      help: "how often the price of each symbol changes, in times a second",
    },
  });
  const page = await readPage(new URL("index.html", import.meta.url));
  const quotes = new Quotes(page, { rate: flags.rate });
  await runServer("http", flags, {
    ...quotes.serveOptions,
    maxConnections: 1000,
    maxConnectionsPerAddress: 100,
  });
}
