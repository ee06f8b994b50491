/**
 * A page, served with a policy that allows it nothing but what is in its file.
 *
 * @module
 */

import { encodeBase64 } from "@std/encoding/base64";

/**
 * Reads a page once, and returns a handler for it and its modules.
 *
 * @param modules What the page may import, by path.
 */
export async function readPage(
  file: URL,
  modules: Readonly<Record<string, string>> = {},
): Promise<(request: Request) => Response> {
  const page = await Deno.readTextFile(file);
  const files = new Map([["/", { type: "text/html", text: page }]]);
  for (const [path, text] of Object.entries(modules)) {
    files.set(path, { type: "text/javascript", text });
  }
  const own = files.size > 1 ? "'self' " : "";
  const headers = {
    "cache-control": "no-cache",
    "content-security-policy": [
      "default-src 'none'",
      `script-src ${own}${await hashOf(page, "script")}`,
      `style-src ${await hashOf(page, "style")}`,
      "connect-src 'self'",
      "img-src data:",
      "base-uri 'none'",
      "form-action 'none'",
      "frame-ancestors 'none'",
    ].join("; "),
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
  };
  return (request) => {
    const found = files.get(new URL(request.url).pathname);
    if (found === undefined) {
      return new Response("Not found\n", { status: 404 });
    }
    if (request.method !== "GET" && request.method !== "HEAD") {
      const allow = { allow: "GET, HEAD" };
      return new Response("Only GET\n", { status: 405, headers: allow });
    }
    const type = `${found.type}; charset=utf-8`;
    return new Response(found.text, {
      headers: { ...headers, "content-type": type },
    });
  };
}

/** The hash of an element's text, as a Content-Security-Policy names it. */
async function hashOf(page: string, element: string): Promise<string> {
  const text = new RegExp(`<${element}[^>]*>([^]*?)</${element}>`).exec(page);
  const bytes = new TextEncoder().encode(text?.[1] ?? "");
  const digest = await crypto.subtle.digest("SHA-256", bytes);
  return `'sha256-${encodeBase64(digest)}'`;
}
