import { quote } from "./_quote.ts";
import { isAuthority } from "./_http_head.ts";

/**
 * Whether a page of this origin may open a WebSocket to us.
 *
 * **Cross-site WebSocket hijacking.** A browser lets *any* page open a
 * WebSocket to *any* server, and sends along the cookies that the server has
 * set (unless `SameSite` holds them back): neither the same-origin policy nor
 * CORS applies. A server that trusts cookies, or an address in a private
 * network, and does not check `Origin`, lets every page that a user visits
 * speak for that user. `Origin` is the one thing that such a page cannot forge
 * (RFC 6455 §§4.2.2, 10.2). So check it before accepting, and answer others
 * with 403.
 *
 * A request without `Origin` is allowed, since browsers always send one and
 * other programs could send any: `Origin` protects users of browsers, it does
 * not authenticate anybody. The opaque origin `null`, which sandboxed frames
 * and local files have, is allowed only if listed as `"null"` or by `"*"`.
 *
 * @param origin The value of `Origin`, or `undefined` if there is none.
 * @param allowed The origin that is allowed, or a list: exact ones such as
 * `https://example.com`, all hosts below one as in `https://*.example.com`,
 * or `*` for any, which is safe only where no cookie and no address counts.
 * @param host The host that the request is for. If given, pages of the same
 * host and port are allowed, whether by http or https, since a server behind a
 * proxy cannot tell. A host name of the attacker's that points to our address
 * passes too (DNS rebinding): where the network is trusted, leave it out and
 * list the origins.
 * @returns Whether the origin is allowed.
 * @throws {TypeError} If what is allowed is not an origin.
 *
 * @example Pages of our own, and of one other site
 * ```ts
 * import { isOriginAllowed } from "@sansio/websocket/handshake";
 * import { assert, assertFalse } from "@std/assert";
 *
 * const allowed = ["https://app.example.org"];
 * assert(isOriginAllowed("https://example.com", allowed, "example.com"));
 * assert(isOriginAllowed("https://app.example.org", allowed, "example.com"));
 * assertFalse(isOriginAllowed("https://evil.example", allowed, "example.com"));
 * ```
 */
export function isOriginAllowed(
  origin: string | null | undefined,
  allowed: string | readonly string[],
  host?: string,
): boolean {
  const allowList = checkAllowList(allowed);
  if (origin === undefined || origin === null) return true;
  if (allowList.includes("*") || allowList.includes(origin)) return true;
  // A fast path: browsers write it so. Below, two URLs are parsed.
  if (
    host !== undefined && isAuthority(host) &&
    (origin === `https://${host}` || origin === `http://${host}`)
  ) {
    return true;
  }
  const asked = parseOrigin(origin);
  if (asked === undefined) return false;
  if (host !== undefined && isSameHost(asked, host)) return true;
  return allowList.some((entry) => matches(asked, entry));
}

/** `Host` has no scheme: the default port is that of the page's. */
function isSameHost({ scheme, host }: Origin, ours: string): boolean {
  if (scheme !== "http" && scheme !== "https") return false;
  return host === ours || host === parseHost(scheme, ours)?.host;
}

interface Origin {
  readonly scheme: string;
  readonly host: string;
}

/** RFC 6454 §6: scheme, host, and the port unless it is the default. */
function parseOrigin(text: string): Origin | undefined {
  const match = /^([a-z][a-z0-9+.-]*):\/\/([^/?#@\\\s]+)$/i.exec(text);
  if (match === null) return undefined;
  const [, scheme = "", host = ""] = match;
  return parseHost(scheme.toLowerCase(), host);
}

function parseHost(scheme: string, host: string): Origin | undefined {
  if (!isAuthority(host)) return undefined;
  // Schemes of browser extensions have no ports and are compared as they are.
  if (scheme !== "http" && scheme !== "https") return { scheme, host };
  try {
    return { scheme, host: new URL(`${scheme}://${host}`).host };
  } catch {
    return undefined;
  }
}

const ENTRY = /^(?:\*|null|[a-z][a-z0-9+.-]*:\/\/(?:\*\.)?[^/?#@*\\\s]+)$/i;

/**
 * Checks a list of allowed origins, also where no origin is to be judged yet.
 *
 * @returns The list, of one if it is a string.
 * @throws {TypeError} If an entry of the list is not an origin.
 */
export function checkAllowList(
  allowed: string | readonly string[],
): readonly string[] {
  const allowList = typeof allowed === "string" ? [allowed] : allowed;
  for (const entry of allowList) {
    if (ENTRY.test(entry)) continue;
    throw new TypeError(
      `Allowed origin must be an origin, got ${quote(entry)}`,
    );
  }
  return allowList;
}

function matches(origin: Origin, entry: string): boolean {
  const isWildcard = entry.includes("://*.");
  const rule = parseOrigin(isWildcard ? entry.replace("*.", "") : entry);
  if (rule === undefined || rule.scheme !== origin.scheme) return false;
  return isWildcard
    ? origin.host.endsWith(`.${rule.host}`)
    : origin.host === rule.host;
}
