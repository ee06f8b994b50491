/**
 * Lets `serve()` ask a connection, without a public method, whether the program
 * is done with what was received.
 *
 * @module
 */

let finishedOf: (connection: object) => Promise<void>;

/**
 * Called by the class of connections, which alone can reach its private fields.
 */
export function setFinishedOf(ask: typeof finishedOf): void {
  finishedOf = ask;
}

/**
 * Waits until the program is done with the messages that have arrived, or the
 * connection is closed. Until then nothing more is read.
 */
export function finished(connection: object): Promise<void> {
  return finishedOf(connection);
}
