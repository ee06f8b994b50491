/** Stand-in for `@std/encoding`. @module */
export * from "./base64.ts";
export * from "./hex.ts";
