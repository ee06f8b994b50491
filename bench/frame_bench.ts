import {
  decodeFrame,
  decodeFrameHeader,
  encodeFrame,
  encodeFrameHeaderInto,
  type FrameHeader,
  Opcode,
} from "../frame.ts";
import { Output } from "../_output.ts";
import { WebSocketProtocol } from "../protocol.ts";
import { formatSize } from "./_scenarios.ts";
import { frame, makeReceiver } from "./_ws.ts";

const SIZES = [16, 1024, 65_536];
const maskingKey = 0x12345678;
const { Binary } = Opcode;

Deno.bench("decodeFrameHeader", { group: "header", baseline: true }, () => {
  decodeFrameHeader(masked);
});

const masked = encodeFrame({
  opcode: Binary,
  payload: new Uint8Array(16),
  maskingKey,
});
const header: FrameHeader = { ...decodeFrameHeader(masked)! };
const into = new Uint8Array(14);

Deno.bench("decodeFrameHeader, no new object", { group: "header" }, () => {
  decodeFrameHeader(masked, 0, header);
});

Deno.bench("encodeFrameHeaderInto", { group: "header" }, () => {
  encodeFrameHeaderInto(header, into);
});

for (const size of SIZES) {
  const payload = new Uint8Array(size);
  const group = `encode ${formatSize(size)}`;

  Deno.bench(`ours, a frame of its own, ${group}`, {
    group,
    baseline: true,
  }, () => {
    encodeFrame({ opcode: Binary, payload });
  });

  const output = new Output(false);
  Deno.bench(`ours, queued to be written, ${group}`, { group }, () => {
    output.frame(Binary, payload);
    output.take();
    output.release();
  });

  const options = {
    fin: true,
    opcode: Binary,
    mask: false,
    readOnly: true,
    rsv1: false,
  };
  Deno.bench(`ws, header apart from payload, ${group}`, { group }, () => {
    frame(payload, options);
  });
}

for (const size of SIZES) {
  const payload = new Uint8Array(size);
  const group = `encode, masked, ${formatSize(size)}`;

  Deno.bench(`ours, ${group}`, { group, baseline: true }, () => {
    encodeFrame({ opcode: Binary, payload, maskingKey });
  });

  const options = {
    fin: true,
    opcode: Binary,
    mask: true,
    readOnly: true,
    rsv1: false,
  };
  Deno.bench(`ws, ${group}`, { group }, () => {
    frame(payload, options);
  });
}

for (const size of SIZES) {
  const bytes = encodeFrame({
    opcode: Binary,
    payload: new Uint8Array(size),
    maskingKey,
  });
  const group = `decode ${formatSize(size)}`;

  Deno.bench(`ours, one frame, ${group}`, { group, baseline: true }, () => {
    decodeFrame(bytes);
  });

  // To unmask in place changes the message each time, which does not matter
  // here.
  const protocol = new WebSocketProtocol({ role: "server", inPlace: true });
  Deno.bench(`ours, a message, all rules, ${group}`, { group }, () => {
    protocol.receive(bytes);
    protocol.nextEvent();
  });

  const receiver = makeReceiver();
  receiver.on("message", () => {});
  Deno.bench(`ws, a message, all rules, ${group}`, { group }, () => {
    receiver.write(bytes);
  });
}
