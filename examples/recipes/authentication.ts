/**
 * Authentication before the upgrade: who has no session is answered with 401,
 * and never gets a WebSocket. Browsers bring their session as a cookie, programs
 * as a token; pages of other origins are refused, unless they are listed.
 *
 * ```sh
 * deno task recipe:authentication --origin https://app.example
 * curl -i -d password=... http://127.0.0.1:8004/login
 * ```
 *
 * @module
 */

import {
  CloseCode,
  HandshakeError,
  isOriginAllowed,
  type ServeOptions,
} from "../../mod.ts";
import {
  exitWith,
  HOST_FLAG,
  portFlag,
  readFlags,
  runServer,
} from "../_command_line.ts";

/** Who somebody is, and until when, in milliseconds since 1970. */
export interface Session {
  readonly name: string;
  readonly until: number;
}

const encoder = new TextEncoder();
const HMAC: HmacKeyGenParams = { name: "HMAC", hash: "SHA-256" };

/** A key that exists in this process only. */
function makeKey(): Promise<CryptoKey> {
  return crypto.subtle.generateKey(HMAC, false, ["sign", "verify"]);
}

/** Sessions that clients keep themselves, signed: `NAME.UNTIL.SIGNATURE`. */
export class Sessions {
  readonly #key: CryptoKey;

  private constructor(key: CryptoKey) {
    this.#key = key;
  }

  static async create(): Promise<Sessions> {
    return new Sessions(await makeKey());
  }

  async issue(name: string, lifetime: number): Promise<string> {
    const text = `${encodeURIComponent(name)}.${Date.now() + lifetime}`;
    const bytes = encoder.encode(text);
    const signature = await crypto.subtle.sign(HMAC, this.#key, bytes);
    return `${text}.${new Uint8Array(signature).toHex()}`;
  }

  /** The session of a token, if it is valid and not over. */
  async verify(token: string): Promise<Session | undefined> {
    const [, text = "", name = "", until = "", signature = ""] =
      /^(([\w%*'()!~.-]*)\.(\d{1,16}))\.([0-9a-f]{64})$/.exec(token) ?? [];
    const isOurs = await crypto.subtle.verify(
      HMAC,
      this.#key,
      Uint8Array.fromHex(signature),
      encoder.encode(text),
    );
    if (!isOurs || Number(until) <= Date.now()) return undefined;
    return { name: decodeURIComponent(name), until: Number(until) };
  }
}

/** The cookie of a browser, or the token of a program. */
function tokenOf(headers: Headers): string | undefined {
  const cookies = headers.get("cookie") ?? "";
  const [, cookie] = /(?:^|;\s*)session=([^;]*)/.exec(cookies) ?? [];
  const authorization = headers.get("authorization") ?? "";
  const [, bearer] = /^Bearer +(\S+)$/i.exec(authorization) ?? [];
  return bearer ?? cookie;
}

/** The session of a request; without one, the answer is 401. */
async function authenticate(
  sessions: Sessions,
  headers: Headers,
): Promise<Session> {
  const token = tokenOf(headers);
  if (token === undefined) {
    throw new HandshakeError("Log in first: POST /login", {
      status: 401,
      headers: { "WWW-Authenticate": "Bearer" },
    });
  }
  const session = await sessions.verify(token);
  if (session !== undefined) return session;
  throw new HandshakeError("This session is over, or never was one", {
    status: 401,
    headers: { "WWW-Authenticate": 'Bearer error="invalid_token"' },
  });
}

/** Compares in constant time. */
async function isEqual(left: string, right: string): Promise<boolean> {
  const key = await makeKey();
  const signature = await crypto.subtle.sign(HMAC, key, encoder.encode(left));
  return crypto.subtle.verify(HMAC, key, signature, encoder.encode(right));
}

/** Options of {@linkcode authenticated}. */
export interface AuthenticatedOptions {
  sessions: Sessions;
  /** The password for `/login`. */
  password: string;
  /** How long a session lasts, in milliseconds. */
  lifetime: number;
  /** Pages that may connect, besides this server's own. */
  origins: readonly string[];
}

/** The options for `serve()`. */
export function authenticated(
  { sessions, password, lifetime, origins }: AuthenticatedOptions,
): ServeOptions {
  return {
    origins,
    handler: async (request) => {
      const url = new URL(request.url);
      if (url.pathname !== "/login") {
        return new Response("POST name and password to /login\n");
      }
      if (request.method !== "POST") {
        const allow = { allow: "POST" };
        return new Response("Only POST\n", { status: 405, headers: allow });
      }
      const form = await request.formData().catch(() => undefined);
      if (!await isEqual(`${form?.get("password")}`, password)) {
        return new Response("This is not the password\n", { status: 403 });
      }
      // Whole characters: half of one could not be encoded.
      const name = [...`${form?.get("name") ?? "somebody"}`].slice(0, 64);
      const token = await sessions.issue(name.join(""), lifetime);
      const isSecure = url.protocol === "https:" ? "; Secure" : "";
      // SameSite: other sites' pages don't send it, not even by a form.
      const cookie = `session=${token}; Path=/; HttpOnly; SameSite=Strict` +
        `; Max-Age=${Math.floor(lifetime / 1000)}${isSecure}`;
      return new Response(`${token}\n`, { headers: { "set-cookie": cookie } });
    },
    onRequest: async ({ headers }) => {
      return { data: await authenticate(sessions, headers) };
    },
    onConnection: async (ws) => {
      const end = () =>
        ws.close(CloseCode.PolicyViolation, "This session is over");
      const { name, until } = ws.request!.data as Session;
      // A connection may outlast the session it was opened with.
      const timer = setTimeout(end, until - Date.now());
      ws.closed.then(() => clearTimeout(timer));
      await ws.send(`Hello, ${name}`);
      await ws.forEach((message) => ws.send(message));
    },
  };
}

if (import.meta.main) {
  const flags = readFlags("An echo for those who have logged in.", {
    port: portFlag(8004),
    ...HOST_FLAG,
    origin: {
      type: "list",
      value: "ORIGIN",
      help: "whose pages may connect as well, such as https://*.example.com",
    },
    lifetime: {
      type: "number",
      default: 3600,
      min: 1,
      max: 86_400,
      help: "how long a session lasts, in seconds",
    },
  });
  try {
    isOriginAllowed("null", flags.origin); // throws if one is malformed
  } catch (error) {
    exitWith(error);
  }
  const password = crypto.getRandomValues(new Uint8Array(12)).toHex();
  await runServer(
    "ws",
    flags,
    authenticated({
      sessions: await Sessions.create(),
      password,
      lifetime: flags.lifetime * 1000,
      origins: flags.origin,
    }),
  );
  console.log(`The password is ${password}`);
}
