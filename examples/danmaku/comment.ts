/**
 * The comments of viewers.
 *
 * @module
 */

/** How long a comment may be, in code points. */
export const MAX_TEXT_LENGTH = 100;
/** How long a name may be, in code points. */
export const MAX_NAME_LENGTH = 20;
/** How many colours there are to choose from. */
export const COLORS = 6;

/** A comment as viewers get it. */
export interface Comment {
  /** Its unique id. */
  readonly id: string;
  /** Its author, as in {@linkcode Welcome.you}. */
  readonly by: string;
  readonly name: string;
  readonly text: string;
  /** The number of its colour, from 0. */
  readonly color: number;
  /** When it was said, in milliseconds since 1970. */
  readonly at: number;
}

/** The content of a comment, cleaned. */
export type Draft = Pick<Comment, "name" | "text" | "color">;

/** The first message to a viewer. */
export interface Welcome {
  readonly type: "welcome";
  readonly room: string;
  /** The value of {@linkcode Comment.by} in its own comments. */
  readonly you: string;
  readonly viewers: number;
  /** The last comments, the oldest first. */
  readonly recent: readonly Comment[];
  /** The name of this process, if there are several. */
  readonly server?: string | undefined;
}

/** All later messages to a viewer. */
export type Update =
  | { readonly type: "comments"; readonly comments: readonly Comment[] }
  | { readonly type: "recent"; readonly comments: readonly Comment[] }
  | { readonly type: "viewers"; readonly viewers: number }
  /** A comment came too early; how long to wait, in milliseconds. */
  | { readonly type: "refused"; readonly retryAfter: number };

/**
 * Reads what a viewer sends. It may be anything.
 *
 * @returns The content of a comment, or `undefined` if it is none.
 */
export function readDraft(message: string | Uint8Array): Draft | undefined {
  if (typeof message !== "string") return undefined;
  let value: unknown;
  try {
    value = JSON.parse(message);
  } catch {
    return undefined;
  }
  if (typeof value !== "object" || value === null) return undefined;
  const { name, text, color } = value as Record<string, unknown>;
  const cleaned = clean(text, MAX_TEXT_LENGTH);
  if (cleaned === "") return undefined;
  return {
    name: clean(name, MAX_NAME_LENGTH),
    text: cleaned,
    color: Number.isInteger(color) && Number(color) >= 0
      ? Number(color) % COLORS
      : 0,
  };
}

/**
 * One line of visible text: nothing in it is invisible, turns the rest
 * of the line around, or towers over other lines. It is not escaped, since
 * whoever shows it does so as text, never as HTML.
 */
export function clean(value: unknown, maxLength: number): string {
  if (typeof value !== "string") return "";
  const text = value
    .slice(0, 16 * maxLength) // enough, and not too much to look at
    .toWellFormed()
    .normalize("NFC")
    .replaceAll(/\s+/gu, " ")
    // Joiners make one emoji of several, and are a matter of spelling elsewhere.
    .replaceAll(/(?![\u200c\u200d])[\p{Cc}\p{Cf}\p{Co}\p{Cn}]/gu, "")
    .replaceAll(/(\p{M}{4})\p{M}+/gu, "$1")
    .trim();
  return Array.from(text).slice(0, maxLength).join("").trim();
}

/**
 * The name of a room, from its address.
 *
 * @returns Its name, or `undefined` if it can't be the name of a room.
 */
export function readRoomName(target: string): string | undefined {
  const [, encoded] = /^\/rooms\/([^/?#]+)$/.exec(target) ?? [];
  if (encoded === undefined) return undefined;
  try {
    const name = decodeURIComponent(encoded).normalize("NFC").toLowerCase();
    return /^[\p{L}\p{N}][\p{L}\p{M}\p{N}_-]{0,31}$/u.test(name)
      ? name
      : undefined;
  } catch {
    return undefined;
  }
}
