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

/** The targets, and how many of a hundred cases each gets. */
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

const hoard: Uint8Array[] = [];

/**
 * Targets that always fail, to test the fuzzer. They run only if they are
 * named.
 */
export const TRAPS_OF_FUZZ: typeof TARGETS_OF_FUZZ = {
  hangs: {
    share: 1,
    run: () => {
      for (;;);
    },
  },
  hoards: {
    share: 1,
    run: async () => {
      hoard.push(new Uint8Array(4 * 1024 * 1024).fill(1));
      await new Promise((resolve) => setTimeout(resolve, 10));
    },
  },
};

/** The target of that name. */
export function targetOfFuzz(name: string): typeof TARGETS_OF_FUZZ[string] {
  const target = TARGETS_OF_FUZZ[name] ?? TRAPS_OF_FUZZ[name];
  if (target === undefined) {
    throw new RangeError(
      `There is no target [${name}], but ${Object.keys(TARGETS_OF_FUZZ)}`,
    );
  }
  return target;
}

/** Throws the error with the command that repeats the case. */
function tell(error: unknown, flags: string): never {
  const reason = error instanceof Error ? error : new Error(String(error));
  reason.message = `Repeat with \`deno task fuzz ${flags}\`\n${reason.message}`;
  throw reason;
}

/** Runs one case; returns a promise if the target is asynchronous. */
export function fuzzCase(target: string, number: number): void | Promise<void> {
  const told = (error: unknown) =>
    tell(error, `--target ${target} --case ${number}`);
  try {
    const running = targetOfFuzz(target).run(new Chance(number));
    return running?.catch(told);
  } catch (error) {
    return told(error);
  }
}

/** Runs the whole corpus unchanged; announces each entry before it. */
export function fuzzCorpus(onEntry?: (number: number) => void): number {
  try {
    return tryCorpus(onEntry);
  } catch (error) {
    return tell(error, "--corpus");
  }
}

function tryCorpus(onEntry?: (number: number) => void): number {
  let tried = 0;
  for (let seed = 0; seed < 8; seed++) {
    const each = (
      entries: readonly Uint8Array<ArrayBuffer>[],
      ...checks: ((chance: Chance, bytes: Uint8Array<ArrayBuffer>) => void)[]
    ) => {
      for (const [i, entry] of entries.entries()) {
        onEntry?.(tried);
        try {
          for (const check of checks) {
            check(new Chance(seed + i), entry.slice());
          }
        } catch (error) {
          const bytes = entry.slice(0, 100).toHex();
          throw new Error(`entry ${i} of its file, seed ${seed} (${bytes})`, {
            cause: error,
          });
        }
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
