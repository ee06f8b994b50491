/** Stand-in for `@std/crypto`. @module */
export * from "./crypto.ts";
