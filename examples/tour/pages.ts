/**
 * What the tour serves over plain HTTP: its page, and the library's own
 * `frame.ts`, which the page decodes and draws frames with.
 *
 * @module
 */
import { stripTypeScriptTypes } from "node:module";
import { readPage } from "../_page.ts";

const PAGE = new URL("index.html", import.meta.url);
const DECODER = new URL("../../frame.ts", import.meta.url);

/** Reads the files once, and returns a handler for them. */
export async function readPages(): Promise<(request: Request) => Response> {
  const decoder = stripTypeScriptTypes(await Deno.readTextFile(DECODER));
  return await readPage(PAGE, { "/frame.js": decoder });
}
