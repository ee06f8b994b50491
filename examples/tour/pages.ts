/**
 * What the tour serves over plain HTTP: its page, and the library's own
 * `frame.ts`, which the page decodes and draws frames with.
 *
 * @module
 */
import { stripTypeScriptTypes } from "node:module";
import { encodeBase64 } from "@std/encoding/base64";

const PAGE = new URL("index.html", import.meta.url);
const DECODER = new URL("../../frame.ts", import.meta.url);

/** Reads the files once, and returns what answers requests for them. */
export async function readPages(): Promise<(request: Request) => Response> {
  const page = await Deno.readTextFile(PAGE);
  const headers = {
    "cache-control": "no-cache",
    "content-security-policy": await policyFor(page),
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
  };
  const files: Record<string, [type: string, text: string]> = {
    "/": ["text/html; charset=utf-8", page],
    "/frame.js": [
      "text/javascript; charset=utf-8",
      stripTypeScriptTypes(await Deno.readTextFile(DECODER)),
    ],
  };
  return (request) => {
    const [type, text] = files[new URL(request.url).pathname] ?? [];
    if (type === undefined) {
      return new Response("Not found\n", { status: 404 });
    }
    if (request.method !== "GET" && request.method !== "HEAD") {
      const allow = { allow: "GET, HEAD" };
      return new Response("Only GET\n", { status: 405, headers: allow });
    }
    return new Response(text, {
      headers: { ...headers, "content-type": type },
    });
  };
}

/** Lets run what is in the page, and the decoder, and nothing else. */
async function policyFor(page: string): Promise<string> {
  const script = await hashOf(page, "script");
  const style = await hashOf(page, "style");
  return [
    "default-src 'none'",
    `script-src 'self' ${script}`,
    `style-src ${style}`,
    "connect-src 'self'",
    "img-src data:",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
  ].join("; ");
}

/** The hash of an element's text, as a Content-Security-Policy names it. */
async function hashOf(page: string, element: string): Promise<string> {
  const text = new RegExp(`<${element}[^>]*>([^]*?)</${element}>`).exec(page);
  const bytes = new TextEncoder().encode(text?.[1] ?? "");
  const digest = await crypto.subtle.digest("SHA-256", bytes);
  return `'sha256-${encodeBase64(digest)}'`;
}
