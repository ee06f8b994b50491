/**
 * TLS: an echo at `wss:`, and a page at `https:`, on one port.
 *
 * ```sh
 * openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes \
 *   -days 30 -subj /CN=localhost -addext subjectAltName=DNS:localhost \
 *   -keyout key.pem -out cert.pem
 * deno task recipe:tls --cert cert.pem --key key.pem
 * ```
 *
 * With such a key, a server signs for each handshake in 0.03 ms;
 * with one of RSA, of 2048 bits, in 0.8 ms.
 *
 * `serve()` takes the listener of `Deno.listenTls()` as well. The one of `_tls.ts`
 * is for servers that strangers can reach without a proxy; the file says why.
 *
 * A client that is to trust this certificate takes
 * `connect("wss://localhost:8443/", { caCerts: [pem] })`.
 *
 * @module
 */

import { serve, type ServeOptions } from "../../mod.ts";
import {
  exitWith,
  LIMIT_FLAGS,
  limitsOf,
  portFlag,
  readFlags,
  stopOnSignals,
  tryToListen,
  urlOf,
} from "../_command_line.ts";
import { TlsListener } from "../_tls.ts";

const OPTIONS: ServeOptions = {
  handler: () =>
    new Response("A page over TLS\n", {
      // From now on browsers come by https: and wss: only. When you are sure
      // that it works, make it a year: 31536000 seconds.
      headers: { "strict-transport-security": "max-age=300" },
    }),
  onConnection: (ws) => ws.forEach((message) => ws.send(message)),
};

if (import.meta.main) {
  const flags = readFlags("An echo at wss:, and a page at https:.", {
    port: portFlag(8443),
    hostname: {
      type: "text",
      default: "localhost",
      value: "HOST",
      help: "the address to listen at; 0.0.0.0 for all",
    },
    cert: {
      type: "text",
      default: "cert.pem",
      value: "FILE",
      help: "the certificate (PEM)",
    },
    key: {
      type: "text",
      default: "key.pem",
      value: "FILE",
      help: "its private key (PEM)",
    },
    ...LIMIT_FLAGS,
  });
  try {
    const pem = {
      cert: await Deno.readTextFile(flags.cert),
      key: await Deno.readTextFile(flags.key),
    };
    const listener = tryToListen(flags, () => new TlsListener(flags, pem));
    const server = serve(listener, { ...OPTIONS, ...limitsOf(flags) });
    stopOnSignals(() => server.shutdown().then(() => 0));
    console.log(`Listening on ${urlOf("ws", listener.addr, flags)}`);
  } catch (error) {
    exitWith(error);
  }
}
