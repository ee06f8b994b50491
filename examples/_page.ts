/**
 * A page that is one file, served so that it can do nothing but what is in it.
 *
 * @module
 */

import { encodeBase64 } from "@std/encoding/base64";

/** Reads a page once, and returns what answers requests for it, or others. */
export async function readPage(
  file: URL,
): Promise<(request: Request) => Response> {
  const page = await Deno.readTextFile(file);
  const headers = {
    "cache-control": "no-cache",
    "content-security-policy": [
      "default-src 'none'",
      `script-src ${await hashOf(page, "script")}`,
      `style-src ${await hashOf(page, "style")}`,
      "connect-src 'self'",
      "img-src data:",
      "base-uri 'none'",
      "form-action 'none'",
      "frame-ancestors 'none'",
    ].join("; "),
    "content-type": "text/html; charset=utf-8",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
  };
  return (request) => {
    if (new URL(request.url).pathname !== "/") {
      return new Response("Not found\n", { status: 404 });
    }
    if (request.method !== "GET" && request.method !== "HEAD") {
      const allow = { allow: "GET, HEAD" };
      return new Response("Only GET\n", { status: 405, headers: allow });
    }
    return new Response(page, { headers });
  };
}

/** The hash of an element's text, as a Content-Security-Policy names it. */
async function hashOf(page: string, element: string): Promise<string> {
  const text = new RegExp(`<${element}[^>]*>([^]*?)</${element}>`).exec(page);
  const bytes = new TextEncoder().encode(text?.[1] ?? "");
  const digest = await crypto.subtle.digest("SHA-256", bytes);
  return `'sha256-${encodeBase64(digest)}'`;
}
