/**
 * What `serve()` asks of a connection, and nobody else may: whether the program is
 * done with what was received.
 *
 * @module
 */

let finishedOf: (connection: object) => Promise<void>;

/** How to ask, which only the class of connections knows. */
export function setFinishedOf(ask: typeof finishedOf): void {
  finishedOf = ask;
}

/**
 * Waits until who receives a connection's messages is done with those that have
 * arrived. Nothing more is read until then, or until it is closed.
 */
export function finished(connection: object): Promise<void> {
  return finishedOf(connection);
}
