/**
 * Cases without end for whatever reads bytes of a peer's. Each has a number, from
 * which all of it follows; a case that fails throws.
 */
import { Chance, CORPUS } from "./_fuzz_chance.ts";
import {
  built,
  extensions,
  origins,
  parameters,
  requestHead,
  responseHead,
  upgrade,
} from "./_fuzz_handshake.ts";
import { failures, frames, receive, send } from "./_fuzz_protocol.ts";

/** What is fuzzed, and how many of a hundred cases. */
export const TARGETS_OF_FUZZ: Record<
  string,
  { share: number; run: (chance: Chance) => void | Promise<void> }
> = {
  parseRequestHead: { share: 11, run: requestHead },
  parseResponseHead: { share: 7, run: responseHead },
  upgrade: { share: 8, run: upgrade },
  buildUpgradeRequest: { share: 4, run: built },
  isOriginAllowed: { share: 4, run: origins },
  parseExtensions: { share: 9, run: extensions },
  permessageDeflate: { share: 5, run: parameters },
  decodeFrame: { share: 16, run: frames },
  receive: { share: 20, run: receive },
  send: { share: 8, run: send },
  failures: { share: 8, run: failures },
};

/** Runs one case; a promise if it takes its time. */
export function fuzzCase(target: string, number: number): void | Promise<void> {
  const told = (error: unknown): never => {
    const replay = `deno task fuzz --target ${target} --case ${number}`;
    const reason = error instanceof Error ? error : new Error(String(error));
    reason.message = `Repeat with \`${replay}\`\n${reason.message}`;
    throw reason;
  };
  try {
    const running = TARGETS_OF_FUZZ[target]!.run(new Chance(number));
    return running?.catch(told);
  } catch (error) {
    return told(error);
  }
}

/** Tries all of the corpus as it is. */
export function fuzzCorpus(): number {
  let tried = 0;
  for (let seed = 0; seed < 8; seed++) {
    const each = (
      entries: readonly Uint8Array<ArrayBuffer>[],
      ...checks: ((chance: Chance, bytes: Uint8Array<ArrayBuffer>) => void)[]
    ) => {
      for (const [i, entry] of entries.entries()) {
        for (const check of checks) check(new Chance(seed + i), entry.slice());
        tried++;
      }
    };
    each(CORPUS.requests, requestHead, upgrade);
    each(CORPUS.responses, responseHead);
    each(CORPUS.extensions, extensions);
    each(CORPUS.origins, origins);
    each(CORPUS.toServer, (chance, bytes) => receive(chance, "server", bytes));
    each(CORPUS.toClient, (chance, bytes) => receive(chance, "client", bytes));
  }
  return tried;
}
