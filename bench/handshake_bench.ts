import { createHash } from "node:crypto";
import {
  acceptKey,
  acceptUpgrade,
  buildUpgradeRequest,
  parseRequestHead,
  readUpgrade,
} from "../handshake.ts";

const key = "dGhlIHNhbXBsZSBub25jZQ==";
const GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

Deno.bench("ours", { group: "accept key", baseline: true }, () => {
  acceptKey(key);
});

Deno.bench("ws, which asks node:crypto", { group: "accept key" }, () => {
  createHash("sha1").update(key + GUID).digest("base64");
});

const { bytes } = buildUpgradeRequest("ws://localhost/chat?room=1", {
  protocols: ["chat"],
  origin: "http://localhost",
});

Deno.bench("parse the request", { group: "opening", baseline: true }, () => {
  parseRequestHead(bytes);
});

Deno.bench("parse, judge and answer it", { group: "opening" }, () => {
  const head = parseRequestHead(bytes)!;
  acceptUpgrade(readUpgrade(head));
});

Deno.bench("build the request", { group: "opening" }, () => {
  buildUpgradeRequest("ws://localhost/chat?room=1", { protocols: ["chat"] });
});
