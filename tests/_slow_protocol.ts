/**
 * The outcome of a series of frames, written down from RFC 6455 §5 to §8:
 * whole frames and whole messages only, slow, and plain enough to be believed.
 */
import { Opcode, type Role } from "../frame.ts";
import { concat, utf8 } from "./_bytes.ts";
import { beginsUtf8Slowly, isUtf8Slowly } from "./_slow_utf8.ts";

export interface SlowFrame {
  fin: boolean;
  reservedBits: number;
  opcode: number;
  masked: boolean;
  payload: Uint8Array<ArrayBuffer>;
}

export interface SlowOutcome {
  /** `[type, data]`, data as bytes. */
  events: [type: string, data: Uint8Array][];
  /** The fault, or the close code of the peer, or neither. */
  end:
    | [fault: string, closeCode: number]
    | [closed: "closed", code: number]
    | undefined;
  /** `[opcode, payload]`, but for the Close frame after a fault. */
  answers: [opcode: number, payload: Uint8Array][];
}

const PROTOCOL_ERROR = 1002;

export function receiveSlowly(
  frames: SlowFrame[],
  options: { role: Role; maxMessageSize: number; maxFragments: number },
): SlowOutcome {
  const outcome: SlowOutcome = { events: [], end: undefined, answers: [] };
  let begun: SlowFrame[] = [];
  for (const frame of frames) {
    const { opcode, payload } = frame;
    const fault = faultInFrame(frame, options.role) ??
      faultInSequence(frame, begun.length > 0);
    if (fault !== undefined) {
      return { ...outcome, end: [fault, PROTOCOL_ERROR] };
    }
    if (opcode >= 8) {
      if (opcode === Opcode.Close) {
        return { ...outcome, ...closed(payload, outcome) };
      }
      outcome.events.push([opcode === Opcode.Ping ? "ping" : "pong", payload]);
      if (opcode === Opcode.Ping) outcome.answers.push([Opcode.Pong, payload]);
      continue;
    }
    begun.push(frame);
    if (begun.length > options.maxFragments) {
      return { ...outcome, end: ["too-many-fragments", 1008] };
    }
    const data = concat(...begun.map((fragment) => fragment.payload));
    if (data.length > options.maxMessageSize) {
      return { ...outcome, end: ["message-too-big", 1009] };
    }
    const isText = begun[0]!.opcode === Opcode.Text;
    if (isText && !(frame.fin ? isUtf8Slowly : beginsUtf8Slowly)(data)) {
      return { ...outcome, end: ["invalid-utf8", 1007] };
    }
    if (frame.fin) {
      outcome.events.push([isText ? "text" : "binary", data]);
      begun = [];
    }
  }
  return outcome;
}

function faultInFrame(frame: SlowFrame, role: Role): string | undefined {
  if (frame.reservedBits !== 0) return "reserved-bits"; // §5.2
  if (![0, 1, 2, 8, 9, 10].includes(frame.opcode)) return "reserved-opcode";
  if (frame.opcode >= 8) { // §5.5
    if (!frame.fin) return "control-frame-fragmented";
    if (frame.payload.length > 125) return "control-frame-too-long";
  }
  if (frame.masked !== (role === "server")) return "masking"; // §5.1
}

// §5.4
function faultInSequence(
  { opcode }: SlowFrame,
  isBegun: boolean,
): string | undefined {
  if (opcode === 0 && !isBegun) return "unexpected-continuation";
  if ((opcode === 1 || opcode === 2) && isBegun) return "expected-continuation";
}

// §5.5.1, §7.4
function closed(
  payload: Uint8Array,
  { answers }: SlowOutcome,
): Pick<SlowOutcome, "end" | "answers"> {
  if (payload.length === 0) {
    return { end: ["closed", 1005], answers: [...answers, [8, payload]] };
  }
  if (payload.length === 1) {
    return { end: ["invalid-close-payload", PROTOCOL_ERROR], answers };
  }
  const code = payload[0]! * 256 + payload[1]!;
  const isDefined = [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011]
    .concat([1012, 1013, 1014]).includes(code);
  if (!isDefined && !(code >= 3000 && code <= 4999)) {
    return { end: ["invalid-close-code", PROTOCOL_ERROR], answers };
  }
  if (!isUtf8Slowly(payload.subarray(2))) {
    return { end: ["invalid-utf8", 1007], answers };
  }
  return {
    end: ["closed", code],
    answers: [...answers, [8, payload.subarray(0, 2)]],
  };
}

/** The data of an event as bytes. */
export function bytesOf(data: string | Uint8Array): Uint8Array {
  return typeof data === "string" ? utf8(data) : data;
}
