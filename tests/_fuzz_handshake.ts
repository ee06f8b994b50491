/** Cases for whatever reads, and writes, an opening handshake. */
import { assert, assertEquals } from "@std/assert";
import {
  permessageDeflate,
  type PermessageDeflateOptions,
} from "../deflate.ts";
import {
  acceptUpgrade,
  buildUpgradeRequest,
  type BuiltUpgradeRequest,
  type ExtensionElement,
  formatExtensions,
  HandshakeError,
  isOriginAllowed,
  isUpgrade,
  parseExtensions,
  parseRequestHead,
  parseResponseHead,
  readUpgrade,
  rejectUpgrade,
  type UpgradeRequest,
  verifyUpgradeResponse,
} from "../handshake.ts";
import { concat } from "./_bytes.ts";
import {
  type Chance,
  CORPUS,
  fromCorpus,
  fromLatin1,
  latin1,
  mutate,
} from "./_fuzz_chance.ts";

// --- Heads -----------------------------------------------------------------

const METHODS = ["GET", "GET", "GET", "POST", "OPTIONS", "CONNECT", "g!"];
const TARGETS = ["/", "/a?b=c", "*", "http://a/b", "a:80", "/\u00e9", "", "/#"];
const NAMES = ["Host", "Upgrade", "Connection", "Sec-WebSocket-Key", "Origin"]
  .concat(["Content-Length", "Transfer-Encoding", "__proto__", "constructor"])
  .concat(["X", "Sec-WebSocket-Extensions", "toString", "Cookie"])
  .concat(["Sec-WebSocket-Version", "Sec-WebSocket-Protocol"]);
const VALUES = ["a", "localhost:80", "websocket", "keep-alive, Upgrade", "13"]
  .concat(["dGhlIHNhbXBsZSBub25jZQ==", "0", "10", "chunked", "", "\t a \t"])
  .concat(["permessage-deflate; client_max_window_bits", "\u00e9\u00ff", ","])
  .concat(["chat, superchat", "chat,", "chat, chat", 'x; y="z"']);

function fieldLines(chance: Chance): [string, string][] {
  const lines: [string, string][] = chance.many(
    8,
    () => [chance.pick(NAMES), chance.pick(VALUES)],
  );
  if (!chance.once(8)) lines.unshift(["Host", "localhost"]);
  return lines;
}

function headText(first: string, fields: [string, string][]): string {
  const lines = fields.map(([name, value]) => `${name}: ${value}\r\n`);
  return `${first}\r\n${lines.join("")}\r\n`;
}

type Head = ReturnType<typeof parseRequestHead | typeof parseResponseHead>;

/** The result of parsing a head, as text. */
function verdictOf(parse: () => Head): string {
  try {
    const head = parse();
    if (head === undefined) return "more";
    const { headers, byteLength, version } = head;
    const first = "method" in head
      ? `${head.method} ${head.target}`
      : `${head.status} ${head.statusText}`;
    return `${first} ${version} ${byteLength} ${JSON.stringify([...headers])}`;
  } catch (error) {
    if (!(error instanceof HandshakeError)) throw error;
    return `${error.kind} ${error.status} ${error.message}`;
  }
}

function checkHead(
  chance: Chance,
  bytes: Uint8Array<ArrayBuffer>,
  parse: (bytes: Uint8Array, options: object) => Head,
): void {
  const options = chance.once(4)
    ? { maxHeadSize: 1 + chance.below(200), maxHeaders: 1 + chance.below(8) }
    : {};
  const before = chance.once(50) ? bytes.slice() : undefined;
  const whole = verdictOf(() => parse(bytes, options));
  // A shorter beginning gives no result, or the same.
  let last = "more";
  const cuts = [chance.below(bytes.length), chance.below(bytes.length)];
  for (const cut of cuts.sort((a, b) => a - b)) {
    const part = verdictOf(() => parse(bytes.subarray(0, cut), options));
    if (last !== "more") assertEquals(part, last, `at ${cut}`);
    last = part;
  }
  if (last !== "more") assertEquals(whole, last);
  if (before !== undefined) assertEquals(bytes, before, "input was changed");
}

function requestBytes(chance: Chance): Uint8Array<ArrayBuffer> {
  if (chance.once(3)) return fromCorpus(chance, CORPUS.requests);
  const line = `${chance.pick(METHODS)} ${chance.pick(TARGETS)} HTTP/1.1`;
  return someHead(chance, line);
}

function responseBytes(chance: Chance): Uint8Array<ArrayBuffer> {
  if (chance.once(3)) return fromCorpus(chance, CORPUS.responses);
  const status = chance.pick(["101", "200", "302", "099", "1000", "426"]);
  const reason = chance.pick([" Switching Protocols", "", " ", " \u00e9"]);
  return someHead(chance, `HTTP/1.1 ${status}${reason}`);
}

function someHead(chance: Chance, line: string): Uint8Array<ArrayBuffer> {
  let bytes = latin1(headText(line, fieldLines(chance)));
  if (!chance.once(4)) bytes = mutate(chance, bytes);
  return chance.once(4) ? concat(bytes, chance.bytes(8)) : bytes;
}

export function requestHead(
  chance: Chance,
  bytes: Uint8Array<ArrayBuffer> = requestBytes(chance),
): void {
  checkHead(chance, bytes, parseRequestHead);
}

export function responseHead(
  chance: Chance,
  bytes: Uint8Array<ArrayBuffer> = responseBytes(chance),
): void {
  checkHead(chance, bytes, parseResponseHead);
}

// --- Upgrades --------------------------------------------------------------

const HEADERS: [string, string][][] = [
  [],
  [["Set-Cookie", "a=b"], ["Set-Cookie", "c=d; Path=/"]],
  [["X", "\u00e9"], ["__proto__", "x"]],
  [["X", "a\r\nY: b"]],
  [["X\r\n", "a"]],
  [["Connection", "close"]],
  [["Sec-WebSocket-Accept", "x"]],
  [["X", "\u4f60"]],
];

/** What is no request for an upgrade is refused, in one answer. */
function checkRefusal(error: unknown): void {
  if (!(error instanceof HandshakeError)) throw error;
  assert(error.status >= 400 && error.status <= 505, `${error.status}`);
  const answer = rejectUpgrade(error);
  const head = parseResponseHead(answer)!;
  assertEquals(head.status, error.status);
  const length = Number(head.headers.get("content-length"));
  assertEquals(head.byteLength + length, answer.length);
}

function accepted(
  chance: Chance,
  request: UpgradeRequest,
): Uint8Array<ArrayBuffer> {
  const protocol = chance.once(2)
    ? chance.pick([...request.protocols, undefined])
    : undefined;
  const extensions = request.extensions.length > 0 && chance.once(2)
    ? [chance.pick(request.extensions)]
    : [];
  const headers = chance.pick(HEADERS);
  try {
    const answer = acceptUpgrade(request, { protocol, extensions, headers });
    const head = parseResponseHead(answer)!;
    assertEquals(head.byteLength, answer.length, "something is behind it");
    const negotiated = verifyUpgradeResponse(head, request);
    assertEquals(negotiated, { protocol, extensions });
    for (const [name, value] of headers) {
      assert(head.headers.get(name)!.includes(value));
    }
    return answer;
  } catch (error) {
    // A header that is none is the program's mistake.
    if (!(error instanceof TypeError) || HEADERS.indexOf(headers) < 3) {
      throw error;
    }
    return acceptUpgrade(request, { protocol, extensions });
  }
}

/** The server's side, and the client's with a mutated answer. */
export function upgrade(
  chance: Chance,
  bytes: Uint8Array<ArrayBuffer> = chance.once(8)
    ? requestBytes(chance)
    : upgradeBytes(chance),
): void {
  let request: UpgradeRequest;
  try {
    const head = parseRequestHead(bytes);
    if (head === undefined) return;
    const isMeant = isUpgrade(head);
    request = readUpgrade(head);
    assert(isMeant, "it is read, and was none");
  } catch (error) {
    return checkRefusal(error);
  }
  assert(request.target.startsWith("/"));
  assertEquals(new Set(request.protocols).size, request.protocols.length);
  const answer = mutate(chance, accepted(chance, request));
  try {
    const head = parseResponseHead(answer);
    if (head === undefined) return;
    const { protocol, extensions } = verifyUpgradeResponse(head, request);
    assert(protocol === undefined || request.protocols.includes(protocol));
    const offered = new Set(request.extensions.map(({ name }) => name));
    assert(extensions.every(({ name }) => offered.has(name)));
  } catch (error) {
    if (!(error instanceof HandshakeError)) throw error;
  }
}

const UPGRADE: [string, string][] = [
  ["Host", "localhost"],
  ["Upgrade", "websocket"],
  ["Connection", "Upgrade"],
  ["Sec-WebSocket-Version", "13"],
  ["Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="],
];

/** A request for an upgrade with few faults, or none. */
function upgradeBytes(chance: Chance): Uint8Array<ArrayBuffer> {
  const fields = UPGRADE.filter(() => !chance.once(40));
  if (chance.once(2)) {
    fields.push([
      "Sec-WebSocket-Protocol",
      chance.pick(["chat, b", "b", "b,b"]),
    ]);
  }
  if (chance.once(2)) {
    const value = fromLatin1(chance.pick(CORPUS.extensions));
    fields.push(["Sec-WebSocket-Extensions", value]);
  }
  if (chance.once(4)) fields.push([chance.pick(NAMES), chance.pick(VALUES)]);
  const target = chance.pick(["/", "/a?b", "http://localhost/a", "*"]);
  const bytes = latin1(headText(`GET ${target} HTTP/1.1`, fields));
  return chance.once(4) ? mutate(chance, bytes) : bytes;
}

const URLS = ["ws://localhost/", "wss://a.test:444/b?c=d", "http://[::1]:9/"]
  .concat(["ws://u:p@a/", "ws://a/#b", "ftp://a/", "ws://", "//a", "ws:\\\\a"])
  .concat(["ws://a/\u00e9?\u4f60", "ws://a/b c", "ws://a:65536/", "ws://a%00/"])
  .concat(["ws://\u00fc.test/", "ws://a/\r\nX: y", "WS://A:80/%zz"]);
const PROTOCOLS = [[], ["chat"], ["a", "b"], ["a", "a"], ["a b"], [""], ["\n"]];

/** The client's side: a server reads what it meant to say. */
export function built(chance: Chance): void {
  let url = chance.pick(URLS);
  if (chance.once(3)) url = fromLatin1(mutate(chance, latin1(url)));
  const protocols = chance.pick(PROTOCOLS);
  let extensions: ExtensionElement[] = [];
  try {
    extensions = parseExtensions(fromLatin1(chance.pick(CORPUS.extensions)));
  } catch {
    // None, then.
  }
  const headers = chance.pick(HEADERS);
  let request: BuiltUpgradeRequest;
  try {
    request = buildUpgradeRequest(url, { protocols, extensions, headers });
  } catch (error) {
    assert(error instanceof SyntaxError || error instanceof TypeError);
    return;
  }
  const head = parseRequestHead(request.bytes)!;
  assertEquals(head.byteLength, request.bytes.length, "something is behind it");
  const read = readUpgrade(head);
  assertEquals(read.key, request.key);
  assertEquals(read.protocols, protocols);
  assertEquals(read.extensions, extensions);
  assert(request.port >= 0 && request.port < 65536);
  assert(read.host.startsWith(request.hostname) || read.host.startsWith("["));
}

// --- Origins ---------------------------------------------------------------

const ALLOWED = ["*", "null", "https://example.com", "https://*.example.com"]
  .concat(["http://example.com:8080", "chrome-extension://aaaa"]);

/**
 * An origin that is allowed has the host of an entry, as a browser parses it.
 */
export function origins(
  chance: Chance,
  bytes: Uint8Array<ArrayBuffer> = fromCorpus(chance, CORPUS.origins),
): void {
  const origin = fromLatin1(bytes);
  const list = chance.many(3, () => chance.pick(ALLOWED));
  const host = chance.pick([
    undefined,
    "example.com",
    "a:80",
    "localhost:8000",
  ]);
  if (!isOriginAllowed(origin, list, host) || list.includes("*")) return;
  if (origin === "null") return assert(list.includes("null"));
  const page = new URL(origin);
  assertEquals([page.username, page.hash, page.search], ["", "", ""]);
  assert(page.pathname === "/" || page.pathname === "");
  const isSame = page.host === host || `${page.host}:80` === host;
  const isListed = list.some((entry) =>
    entry.startsWith(page.protocol) && (
      page.host === entry.replace(/^.*:\/\//, "") ||
      entry.includes("*.") && page.host.endsWith(entry.replace(/^.*\*/, ""))
    )
  );
  assert(isSame || isListed, `[${origin}] of [${list}] at [${host}]`);
}

// --- Extensions ------------------------------------------------------------

const PIECES = ["permessage-deflate", "x", "; ", ";", ",", ", ", "=", '"', "a"]
  .concat(['"1"', "client_max_window_bits", "10", " ", "\t", "\\", "__proto__"])
  .concat(["\u00e9", "constructor", '"\\a"', '""']);

export function extensions(
  chance: Chance,
  bytes?: Uint8Array<ArrayBuffer>,
): void {
  const header = bytes !== undefined
    ? fromLatin1(bytes)
    : chance.once(3)
    ? fromLatin1(fromCorpus(chance, CORPUS.extensions))
    : chance.many(30, () => chance.pick(PIECES)).join("");
  try {
    const list = parseExtensions(header);
    assertEquals(parseExtensions(formatExtensions(list)), list);
    assert(list.length > 0);
  } catch (error) {
    if (!(error instanceof HandshakeError)) throw error;
    assertEquals(error.status, 400);
  }
}

const PARAMETERS = ["server_max_window_bits", "client_max_window_bits"]
  .concat(["server_no_context_takeover", "client_no_context_takeover"])
  .concat(["x", "__proto__", "constructor"]);
const BITS = [
  undefined,
  "8",
  "9",
  "10",
  "12",
  "14",
  "15",
  "16",
  "7",
  "08",
  "",
  "a",
];

export function deflateOptions(chance: Chance): PermessageDeflateOptions {
  const bits = () => chance.once(2) ? undefined : 9 + chance.below(7);
  return {
    serverNoContextTakeover: chance.once(3),
    clientNoContextTakeover: chance.once(3),
    serverMaxWindowBits: bits(),
    clientMaxWindowBits: bits(),
    maxContexts: chance.below(4),
  };
}

/** Any offer and response; and our own, which have to be accepted. */
export function parameters(chance: Chance): void {
  const server = permessageDeflate(deflateOptions(chance));
  const client = permessageDeflate(deflateOptions(chance));
  const anything = chance.many(
    4,
    () => [chance.pick(PARAMETERS), chance.pick(BITS)] as const,
  );
  for (const offer of [anything, ...client.offers()]) {
    const accepted = server.accept(offer); // never throws
    if (accepted === undefined) continue;
    const asked = new Map(offer);
    const answer = new Map(accepted.parameters);
    // RFC 7692 §7.1.2: no more than was asked for, and only what may be.
    const most = Number(asked.get("server_max_window_bits") ?? 15);
    assert(Number(answer.get("server_max_window_bits") ?? 15) <= most);
    if (answer.has("client_max_window_bits")) {
      assert(asked.has("client_max_window_bits"));
    }
    if (asked.has("server_no_context_takeover")) {
      assert(answer.has("server_no_context_takeover"));
    }
    assertEquals(answer.size, accepted.parameters.length);
    accepted.dispose?.();
  }
  try {
    client.confirm(anything).dispose?.();
  } catch (error) {
    assert(error instanceof Error && error.name === "ParameterError");
  }
}
