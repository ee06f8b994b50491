/**
 * The parameters of permessage-deflate and what they mean (RFC 7692 §7.1).
 *
 * @module
 */

import type { ExtensionParameters } from "./extension.ts";
import { quote } from "./_quote.ts";

/** The largest LZ77 window, as the base-2 logarithm of its size in bytes. */
export const MAX_WINDOW_BITS = 15;

// A window of 256 bytes is legal, and zlib and what descends from it cannot
// keep to it in raw deflate: they would use twice as much.
const MIN_OWN_WINDOW_BITS = 9;

/** The four parameters of an offer or a response. */
interface DeflateParameters {
  /** Whether the server compresses each message by itself. */
  serverNoContextTakeover: boolean;
  /** Whether the client compresses each message by itself. */
  clientNoContextTakeover: boolean;
  /** The largest window of the server's compressor. */
  serverMaxWindowBits: number | undefined;
  /** The client's; `true` if it can be limited and no value was given. */
  clientMaxWindowBits: number | true | undefined;
}

/** The four parameters of a response. */
interface ResponseParameters extends DeflateParameters {
  clientMaxWindowBits: number | undefined;
}

/** What the options of this side demand in offers and responses. */
export interface DeflateDemands {
  /** See {@linkcode DeflateParameters}. */
  serverNoContextTakeover: boolean;
  /** See {@linkcode DeflateParameters}. */
  clientNoContextTakeover: boolean;
  /** 9 to 14; `undefined` if it is not limited. */
  serverMaxWindowBits: number | undefined;
  /** 9 to 15; `undefined` if it was left open. */
  clientMaxWindowBits: number | undefined;
}

/** How one direction is compressed. */
export interface Direction {
  /** Whether a message may refer to earlier ones. */
  contextTakeover: boolean;
  /** The largest window that may be used. */
  windowBits: number;
}

/** The agreement of two endpoints. */
export interface DeflateAgreement {
  /** As it stands in the server's response. */
  parameters: ExtensionParameters;
  /** How this side compresses. */
  outgoing: Direction;
  /** How the peer compresses. */
  incoming: Direction;
}

/** What is wrong with a parameter. */
class ParameterError extends Error {
  override readonly name = "ParameterError";

  constructor(message: string) {
    super(`permessage-deflate: ${message}`);
  }
}

/**
 * Reads an offer or a response.
 *
 * @throws {Error} If a parameter is unknown, occurs twice, or has a value that
 * it must not have: the offer is to be declined, the response is fatal (§7).
 */
function readParameters(
  parameters: ExtensionParameters,
  isOffer: true,
): DeflateParameters;
function readParameters(
  parameters: ExtensionParameters,
  isOffer: false,
): ResponseParameters;
function readParameters(
  parameters: ExtensionParameters,
  isOffer: boolean,
): DeflateParameters {
  const read: DeflateParameters = {
    serverNoContextTakeover: false,
    clientNoContextTakeover: false,
    serverMaxWindowBits: undefined,
    clientMaxWindowBits: undefined,
  };
  const names = new Set<string>();
  for (const [name, value] of parameters) {
    if (names.has(name)) {
      throw new ParameterError(`"${name}" occurs more than once`);
    }
    names.add(name);
    switch (name) {
      case "server_no_context_takeover":
        read.serverNoContextTakeover = readFlag(name, value);
        break;
      case "client_no_context_takeover":
        read.clientNoContextTakeover = readFlag(name, value);
        break;
      case "server_max_window_bits":
        read.serverMaxWindowBits = readWindowBits(name, value);
        break;
      case "client_max_window_bits":
        // §7.1.2.2: only in an offer may the value be missing
        read.clientMaxWindowBits = isOffer && value === undefined
          ? true
          : readWindowBits(name, value);
        break;
      default:
        throw new ParameterError(
          `There is no such parameter, got ${quote(name)}`,
        );
    }
  }
  return read;
}

function readFlag(name: string, value: string | undefined): true {
  if (value === undefined) return true;
  throw new ParameterError(`"${name}" takes no value, got ${quote(value)}`);
}

// §7.1.2: "a decimal integer value without leading zeroes between 8 to 15"
function readWindowBits(name: string, value: string | undefined): number {
  if (value !== undefined && /^([89]|1[0-5])$/.test(value)) {
    return Number(value);
  }
  throw new ParameterError(
    `"${name}" must be an integer from 8 to 15, without leading zeros, got ${
      quote(value ?? "")
    }`,
  );
}

function writeParameters(written: DeflateParameters): ExtensionParameters {
  const parameters: [string, string | undefined][] = [];
  if (written.serverNoContextTakeover) {
    parameters.push(["server_no_context_takeover", undefined]);
  }
  if (written.clientNoContextTakeover) {
    parameters.push(["client_no_context_takeover", undefined]);
  }
  if (written.serverMaxWindowBits !== undefined) {
    const value = String(written.serverMaxWindowBits);
    parameters.push(["server_max_window_bits", value]);
  }
  if (written.clientMaxWindowBits !== undefined) {
    const { clientMaxWindowBits: bits } = written;
    const value = bits === true ? undefined : String(bits);
    parameters.push(["client_max_window_bits", value]);
  }
  return parameters;
}

/** The parameters of a client's offer. */
export function offerParameters(demands: DeflateDemands): ExtensionParameters {
  const { clientMaxWindowBits = MAX_WINDOW_BITS } = demands;
  return writeParameters({
    ...demands,
    // Always there: without it, the server must not limit the window
    // (§7.1.2.2).
    clientMaxWindowBits: clientMaxWindowBits < MAX_WINDOW_BITS
      ? clientMaxWindowBits
      : true,
  });
}

/**
 * A server's answer to an offer.
 *
 * @param clientWindowBits What to ask of a client that can be limited, where
 * the demands leave it open.
 * @returns What is then agreed, or `undefined` to decline the offer.
 */
export function acceptOffer(
  parameters: ExtensionParameters,
  demands: DeflateDemands,
  clientWindowBits: number,
): DeflateAgreement | undefined {
  let offer: DeflateParameters;
  try {
    offer = readParameters(parameters, true);
  } catch (error) {
    if (error instanceof ParameterError) return undefined;
    throw error;
  }
  // §7.1.2.1: the same or a smaller value
  const serverMaxWindowBits = smaller(
    offer.serverMaxWindowBits,
    demands.serverMaxWindowBits,
  );
  if ((serverMaxWindowBits ?? MAX_WINDOW_BITS) < MIN_OWN_WINDOW_BITS) {
    return undefined;
  }
  const { clientMaxWindowBits: offered } = offer;
  const hint = offered === true ? undefined : offered;
  const clientMost = demands.clientMaxWindowBits ?? MAX_WINDOW_BITS;
  const asked = smaller(hint, demands.clientMaxWindowBits ?? clientWindowBits);
  const response: ResponseParameters = {
    serverNoContextTakeover: demands.serverNoContextTakeover ||
      offer.serverNoContextTakeover,
    // A client that cannot limit its window can always do without context
    // (§7.1.1.2), which takes even less memory here.
    clientNoContextTakeover: demands.clientNoContextTakeover ||
      offer.clientNoContextTakeover ||
      (offered === undefined && clientMost < MAX_WINDOW_BITS),
    serverMaxWindowBits,
    // §7.1.2.2: not if the offer has not got it
    clientMaxWindowBits: offered === undefined || asked === MAX_WINDOW_BITS
      ? undefined
      : asked,
  };
  return {
    parameters: writeParameters(response),
    outgoing: {
      contextTakeover: !response.serverNoContextTakeover,
      windowBits: serverMaxWindowBits ?? MAX_WINDOW_BITS,
    },
    incoming: {
      contextTakeover: !response.clientNoContextTakeover,
      windowBits: smaller(hint, response.clientMaxWindowBits) ??
        MAX_WINDOW_BITS,
    },
  };
}

/**
 * A client's judgement of the answer to its offer.
 *
 * @throws {Error} If the answer does not accept what was offered, or asks for
 * what this side cannot do.
 */
export function confirmResponse(
  parameters: ExtensionParameters,
  demands: DeflateDemands,
): DeflateAgreement {
  const response = readParameters(parameters, false);
  // §7.1.1.1 and §7.1.2.1: the server accepts these by repeating them
  if (demands.serverNoContextTakeover && !response.serverNoContextTakeover) {
    throw new ParameterError(
      'The response lacks "server_no_context_takeover", which was offered',
    );
  }
  const { serverMaxWindowBits } = response;
  const most = demands.serverMaxWindowBits ?? MAX_WINDOW_BITS;
  if (
    demands.serverMaxWindowBits !== undefined &&
    serverMaxWindowBits === undefined
  ) {
    throw new ParameterError(
      `The response lacks "server_max_window_bits", which was offered (${most})`,
    );
  }
  if ((serverMaxWindowBits ?? MAX_WINDOW_BITS) > most) {
    throw new ParameterError(
      `"server_max_window_bits" is more than was offered (${serverMaxWindowBits} > ${most})`,
    );
  }
  // §7.1.2.2: this side keeps to its hint, whatever the value
  const windowBits = smaller(
    response.clientMaxWindowBits,
    demands.clientMaxWindowBits,
  );
  if ((windowBits ?? MAX_WINDOW_BITS) < MIN_OWN_WINDOW_BITS) {
    throw new ParameterError(
      `"client_max_window_bits" is less than can be kept to (${windowBits})`,
    );
  }
  return {
    parameters: writeParameters(response),
    outgoing: {
      contextTakeover: !response.clientNoContextTakeover &&
        !demands.clientNoContextTakeover,
      windowBits: windowBits ?? MAX_WINDOW_BITS,
    },
    incoming: {
      contextTakeover: !response.serverNoContextTakeover,
      windowBits: serverMaxWindowBits ?? MAX_WINDOW_BITS,
    },
  };
}

function smaller(a: number | undefined, b: number): number;
function smaller(
  a: number | undefined,
  b: number | undefined,
): number | undefined;
function smaller(
  a: number | undefined,
  b: number | undefined,
): number | undefined {
  return a === undefined ? b : b === undefined ? a : Math.min(a, b);
}
