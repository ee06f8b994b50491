/** RFC 7692 §7.1: what is offered, accepted, declined and refused. */
import {
  assert,
  assertEquals,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import {
  permessageDeflate,
  type PermessageDeflateOptions,
} from "../deflate.ts";
import type { ExtensionParameters } from "../extension.ts";
import { formatExtensions, parseExtensions } from "../handshake.ts";
import { fc, property } from "./_property.ts";

/** The parameters of one offer, whatever the header's grammar says of them. */
function split(text: string): ExtensionParameters {
  return text.split("; ").filter(Boolean).map((part) => {
    const [name, value] = part.split("=");
    return [name!, value];
  });
}

/** As {@linkcode split}, parsed from a header. */
function parse(text: string): ExtensionParameters {
  const [extension] = parseExtensions(
    `permessage-deflate${text && "; "}${text}`,
  );
  return extension!.parameters;
}

function format(parameters: ExtensionParameters): string {
  return formatExtensions([{ name: "permessage-deflate", parameters }])
    .replace(/^permessage-deflate(; )?/, "");
}

function offered(options?: PermessageDeflateOptions): string {
  const offers = permessageDeflate(options).offers();
  assertEquals(offers.length, 1);
  return format(offers[0]!);
}

/** The response to an offer, or `undefined` if it is declined. */
function answered(
  offer: string,
  options?: PermessageDeflateOptions,
): string | undefined {
  const negotiated = permessageDeflate(options).accept(split(offer));
  return negotiated && format(negotiated.parameters);
}

function confirmed(
  response: string,
  options?: PermessageDeflateOptions,
): string {
  return format(permessageDeflate(options).confirm(split(response)).parameters);
}

Deno.test("the extension has the registered name and claims RSV1", () => {
  const extension = permessageDeflate();
  assertEquals(extension.name, "permessage-deflate");
  const negotiated = extension.accept([])!;
  assertEquals(negotiated.name, "permessage-deflate");
  assertEquals(negotiated.reservedBits, 0b100);
});

Deno.test("a client offers what it is told to, and that it can be limited", () => {
  const cases: [PermessageDeflateOptions, string][] = [
    [{}, "client_max_window_bits"],
    [
      { serverNoContextTakeover: true },
      "server_no_context_takeover; client_max_window_bits",
    ],
    [
      { clientNoContextTakeover: true },
      "client_no_context_takeover; client_max_window_bits",
    ],
    [
      { serverMaxWindowBits: 10 },
      "server_max_window_bits=10; client_max_window_bits",
    ],
    [{ clientMaxWindowBits: 9 }, "client_max_window_bits=9"],
    [
      {
        serverNoContextTakeover: true,
        clientNoContextTakeover: true,
        serverMaxWindowBits: 9,
        clientMaxWindowBits: 14,
      },
      "server_no_context_takeover; client_no_context_takeover; server_max_window_bits=9; client_max_window_bits=14",
    ],
    // 15 is what there is anyway
    [{ serverMaxWindowBits: 15 }, "client_max_window_bits"],
    [{ clientMaxWindowBits: 15 }, "client_max_window_bits"],
  ];
  for (const [options, offer] of cases) assertEquals(offered(options), offer);
});

Deno.test("a server answers each parameter with no demands of its own", () => {
  const cases: [offer: string, response: string | undefined][] = [
    ["", ""],
    ["server_no_context_takeover", "server_no_context_takeover"],
    ["client_no_context_takeover", "client_no_context_takeover"],
    ["server_max_window_bits=15", "server_max_window_bits=15"],
    ["server_max_window_bits=10", "server_max_window_bits=10"],
    ["server_max_window_bits=9", "server_max_window_bits=9"],
    // Nothing here can compress with a window of 256 bytes.
    ["server_max_window_bits=8", undefined],
    ["client_max_window_bits", "client_max_window_bits=12"],
    ["client_max_window_bits=15", "client_max_window_bits=12"],
    ["client_max_window_bits=10", "client_max_window_bits=10"],
    // Inflating what was made with a small window is no problem.
    ["client_max_window_bits=8", "client_max_window_bits=8"],
  ];
  for (const [offer, response] of cases) {
    assertEquals(answered(offer), response, offer);
  }
});

Deno.test("a server answers each parameter with its demands", () => {
  const cases: [PermessageDeflateOptions, offer: string, response: string][] = [
    [{ serverNoContextTakeover: true }, "", "server_no_context_takeover"],
    [{ clientNoContextTakeover: true }, "", "client_no_context_takeover"],
    [{ serverMaxWindowBits: 11 }, "", "server_max_window_bits=11"],
    [
      { serverMaxWindowBits: 11 },
      "server_max_window_bits=10",
      "server_max_window_bits=10",
    ],
    [
      { serverMaxWindowBits: 11 },
      "server_max_window_bits=12",
      "server_max_window_bits=11",
    ],
    [{ serverMaxWindowBits: 15 }, "", ""],
    [
      { clientMaxWindowBits: 10 },
      "client_max_window_bits",
      "client_max_window_bits=10",
    ],
    [
      { clientMaxWindowBits: 10 },
      "client_max_window_bits=9",
      "client_max_window_bits=9",
    ],
    [{ clientMaxWindowBits: 15 }, "client_max_window_bits", ""],
    [{ clientMaxWindowBits: 15 }, "", ""],
    // §7.1.2.2: it must not be answered; but memory was to be limited
    [{ clientMaxWindowBits: 10 }, "", "client_no_context_takeover"],
  ];
  for (const [options, offer, response] of cases) {
    assertEquals(answered(offer, options), response, offer);
  }
});

const MALFORMED = [
  "unknown_parameter",
  "server_no_context_takeover; unknown=1",
  "Server_no_context_takeover",
  "server_no_context_takeover=1",
  "server_no_context_takeover=true",
  "server_no_context_takeover=",
  "client_no_context_takeover=0",
  "server_no_context_takeover; server_no_context_takeover",
  "client_no_context_takeover; client_no_context_takeover",
  "server_max_window_bits=10; server_max_window_bits=10",
  "client_max_window_bits=10; client_max_window_bits",
  "server_max_window_bits",
  ...["server_max_window_bits", "client_max_window_bits"].flatMap((name) =>
    ["7", "16", "0", "-9", "+9", "09", "010", "9.0", "1e1", "0xa", "ten", "15a"]
      .map((value) => `${name}=${value}`)
  ),
  "client_max_window_bits=",
  "client_max_window_bits= 10",
];

Deno.test("a server declines an offer with anything wrong in it", () => {
  for (const offer of MALFORMED) {
    assertEquals(answered(offer), undefined, offer);
  }
});

Deno.test("a client refuses a response with anything wrong in it", () => {
  for (const response of [...MALFORMED, "client_max_window_bits"]) {
    const error = assertThrows(
      () => confirmed(response),
      Error,
      "permessage-deflate",
    );
    const name = /[a-z_]+/i.exec(response)![0];
    if (response.endsWith("unknown=1")) continue;
    assertStringIncludes(error.message, name);
  }
});

Deno.test("§7.1.2: of single characters only 8 and 9 are window bits", () => {
  for (let code = 0x20; code < 0x7f; code++) {
    const value = String.fromCharCode(code);
    const isTaken = permessageDeflate()
      .accept([["server_max_window_bits", value]]) !== undefined;
    // 8 is more than zlib can keep to, and so declined
    assertEquals(isTaken, value === "9", value);
    const answer = () =>
      permessageDeflate().confirm([["client_max_window_bits", value]]);
    if (value === "9") answer();
    else if (value === "8") assertThrows(answer, Error, "can be kept to (8)");
    else {
      assertThrows(
        answer,
        Error,
        '"client_max_window_bits" must be an integer from 8 to 15, without ' +
          `leading zeros, got [${value}]`,
      );
    }
  }
  assertThrows(
    () => permessageDeflate().confirm([["client_max_window_bits", undefined]]),
    Error,
    "must be an integer from 8 to 15",
  );
});

Deno.test("a quoted value is the same as a token (RFC 6455 §9.1)", () => {
  const quoted = parse('server_max_window_bits="10"');
  assertEquals(quoted, split("server_max_window_bits=10"));
  assert(permessageDeflate().accept(quoted) !== undefined);
});

Deno.test("a client takes what it did not ask for where §7.1 lets the server", () => {
  for (
    const response of [
      "",
      "server_no_context_takeover",
      "client_no_context_takeover",
      "server_max_window_bits=8",
      "server_max_window_bits=15",
      "client_max_window_bits=9",
      "client_max_window_bits=15",
    ]
  ) assertEquals(confirmed(response), response);
});

Deno.test("a client refuses a response that leaves out what it asked for", () => {
  assertThrows(
    () => confirmed("", { serverNoContextTakeover: true }),
    Error,
    'lacks "server_no_context_takeover"',
  );
  assertThrows(
    () => confirmed("", { serverMaxWindowBits: 10 }),
    Error,
    'lacks "server_max_window_bits"',
  );
  assertThrows(
    () => confirmed("server_max_window_bits=11", { serverMaxWindowBits: 10 }),
    Error,
    "more than was offered (11 > 10)",
  );
  assertEquals(
    confirmed("server_max_window_bits=9", { serverMaxWindowBits: 10 }),
    "server_max_window_bits=9",
  );
});

Deno.test("a client cannot compress with a window of 256 bytes", () => {
  assertThrows(
    () => confirmed("client_max_window_bits=8"),
    Error,
    '"client_max_window_bits" is less than can be kept to (8)',
  );
});

Deno.test("a client keeps to its hint, whatever the response says (§7.1.2.2)", () => {
  const options = { clientMaxWindowBits: 9, clientNoContextTakeover: true };
  for (const response of ["", "client_max_window_bits=15"]) {
    const client = permessageDeflate(options).confirm(parse(response));
    const ofNine = permessageDeflate(options).confirm(
      parse("client_no_context_takeover; client_max_window_bits=9"),
    );
    assertEquals(client.sharingKey, ofNine.sharingKey);
  }
});

Deno.test("messages can be shared where the sender keeps no context", () => {
  const bySettings = (options: PermessageDeflateOptions, offer = "") =>
    permessageDeflate(options).accept(split(offer))!.sharingKey;
  assertEquals(bySettings({}), undefined);
  const key = bySettings({ serverNoContextTakeover: true });
  assert(key !== undefined);
  assertEquals(bySettings({}, "server_no_context_takeover"), key);
  const others = [
    bySettings({ serverNoContextTakeover: true, level: 1 }),
    bySettings({ serverNoContextTakeover: true, memLevel: 9 }),
    bySettings({ serverNoContextTakeover: true, serverMaxWindowBits: 9 }),
  ];
  assertEquals(new Set([key, ...others]).size, 4);
});

Deno.test("options out of range are refused", () => {
  const cases: [PermessageDeflateOptions, naming: string][] = [
    [{ level: 0 }, "level must be an integer from 1 to 9 (0)"],
    [{ level: 10 }, "(10)"],
    [{ level: 1.5 }, "(1.5)"],
    [{ level: NaN }, "(NaN)"],
    [{ memLevel: 0 }, "memLevel"],
    [{ memLevel: 10 }, "memLevel"],
    [
      { serverMaxWindowBits: 8 },
      "serverMaxWindowBits must be an integer from 9 to 15 (8)",
    ],
    [{ serverMaxWindowBits: 16 }, "(16)"],
    [{ clientMaxWindowBits: 8 }, "clientMaxWindowBits"],
    [{ clientMaxWindowBits: 16 }, "clientMaxWindowBits"],
    [{ threshold: -1 }, "threshold must be 0 or more (-1)"],
    [{ threshold: NaN }, "threshold"],
    [{ maxContexts: -1 }, "maxContexts must be 0 or more (-1)"],
    [{ maxContexts: NaN }, "maxContexts"],
    [{ maxUnfinished: 0 }, "maxUnfinished must be 1 or more (0)"],
    [{ maxUnfinished: NaN }, "maxUnfinished"],
  ];
  for (const [options, naming] of cases) {
    const error = assertThrows(() => permessageDeflate(options), RangeError);
    assertStringIncludes(error.message, naming);
  }
});

Deno.test("options at the ends of their range are taken", () => {
  for (
    const options of [
      { level: 1, memLevel: 1, maxContexts: 0, maxUnfinished: 1, threshold: 0 },
      { level: 9, memLevel: 9, threshold: Infinity },
      { maxContexts: Infinity, maxUnfinished: Infinity },
      { serverMaxWindowBits: 9, clientMaxWindowBits: 9 },
      { serverMaxWindowBits: 15, clientMaxWindowBits: 15 },
    ]
  ) assertEquals(permessageDeflate(options).name, "permessage-deflate");
});

const bits = fc.option(fc.integer({ min: 9, max: 15 }), { nil: undefined });
const anyOptions = fc.record({
  serverNoContextTakeover: fc.boolean(),
  clientNoContextTakeover: fc.boolean(),
  serverMaxWindowBits: bits,
  clientMaxWindowBits: bits,
}).map((options) =>
  Object.fromEntries(
    Object.entries(options).filter(([, value]) => value !== undefined),
  ) as PermessageDeflateOptions
);

property(
  "any client and any server of ours agree, and both get what they want",
  [anyOptions, anyOptions],
  (ofClient, ofServer) => {
    const client = permessageDeflate(ofClient);
    const server = permessageDeflate(ofServer);
    const accepted = server.accept(client.offers()[0]!)!;
    const confirmed = client.confirm(accepted.parameters);
    assertEquals(confirmed.parameters, accepted.parameters);
    const agreed = new Map(accepted.parameters);
    for (const options of [ofClient, ofServer]) {
      if (options.serverNoContextTakeover) {
        assert(agreed.has("server_no_context_takeover"));
      }
      if (options.clientNoContextTakeover) {
        assert(agreed.has("client_no_context_takeover"));
      }
      const most = options.serverMaxWindowBits ?? 15;
      assert(Number(agreed.get("server_max_window_bits") ?? 15) <= most);
    }
    const most = ofServer.clientMaxWindowBits ?? 12;
    assert(Number(agreed.get("client_max_window_bits") ?? 15) <= most);
  },
);

Deno.test("what is no list of parameters is a mistake, and declines nothing", () => {
  assertThrows(() => permessageDeflate().accept(undefined as never), TypeError);
});
