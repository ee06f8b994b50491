/** The tour in a real browser: what is sent comes back, and is drawn. */
import { Buffer } from "node:buffer";
import { assert, assertEquals, assertMatch } from "@std/assert";
import { acceptKey } from "../handshake.ts";
import { browserTest, PageServer, type TestPage } from "./_browser.ts";

const SIZES = [0, 125, 126, 65535, 65536, 1_000_000];
const TEXTS = ["", "Hello", "你好，世界", "👋🏽🌍 𝄞", "\u0000\ufeff\u2028"];

async function text({ page }: TestPage, selector: string): Promise<string> {
  return await page.locator(selector).innerText();
}

async function press({ page }: TestPage, name: string): Promise<void> {
  await page.getByRole("button", { name, exact: true }).click();
}

/** The row of a frame in the list, by what is in it. */
function row({ page }: TestPage, from: "client" | "server", content: string) {
  return page.locator(`#frames button.from-${from}`, { hasText: content });
}

browserTest("the tour in a browser", async (browser, t) => {
  await using demo = await PageServer.start("demo");

  await t.step(
    "messages of a browser come back unchanged, on any path",
    async () => {
      const page = await browser.open(demo.url);
      for (const path of ["", "chat?room=1"]) {
        const results = await page.run(async ({ url, texts, sizes }) => {
          const ws = new WebSocket(url);
          ws.binaryType = "arraybuffer";
          await new Promise((resolve, reject) => {
            ws.onopen = resolve;
            ws.onclose = reject;
          });
          const queue: ((message: string | ArrayBuffer) => void)[] = [];
          ws.onmessage = ({ data }) => queue.shift()?.(data);
          const ask = (message: string | Uint8Array<ArrayBuffer>) =>
            new Promise<string | ArrayBuffer>((resolve) => {
              queue.push(resolve);
              ws.send(message);
            });
          const results: unknown[] = [];
          for (const message of texts) {
            results.push(await ask(message) === message);
          }
          for (const size of sizes) {
            const sent = new Uint8Array(size);
            for (let at = 0; at < size; at += 65536) {
              crypto.getRandomValues(sent.subarray(at, at + 65536));
            }
            const answer = await ask(sent);
            const got = new Uint8Array(answer as ArrayBuffer);
            results.push(
              answer instanceof ArrayBuffer && got.length === size &&
                got.every((byte, i) => byte === sent[i]),
            );
          }
          const closed = new Promise<CloseEvent>((resolve) =>
            ws.onclose = resolve
          );
          ws.close(4000, "done");
          const { code, wasClean } = await closed;
          return [...results, code, wasClean];
        }, {
          url: demo.url.replace("http", "ws") + path,
          texts: TEXTS,
          sizes: SIZES,
        });
        const all = [...TEXTS, ...SIZES].map(() => true);
        assertEquals(results, [...all, 4000, true], path);
      }
      page.assertNoComplaints();
    },
  );

  await t.step(
    "the page sends texts, sizes and files, and says that they came back",
    async () => {
      const page = await browser.open(demo.url);
      await page.waitForText("#talk p", "Hello");
      for (const message of ["你好，世界", "👋🏽🌍"]) {
        await press(page, message);
        const { length } = new TextEncoder().encode(message);
        await page.waitForText(
          "#talk p",
          new RegExp(`${message}.*text of ${length} bytes, unchanged`, "s"),
        );
      }
      for (const type of ["binary", "text"]) {
        await page.page.getByLabel(`as ${type}`).check();
        for (const size of SIZES) {
          const name = size.toLocaleString("en");
          await press(page, name);
          await page.waitForText(
            "#talk p",
            `${type} of ${name} bytes, unchanged`,
          );
        }
      }
      await page.page.getByLabel("Send a file").setInputFiles({
        name: "some.bin",
        mimeType: "application/octet-stream",
        buffer: Buffer.alloc(4321),
      });
      await page.waitForText("#talk p", "binary of 4,321 bytes, unchanged");
      page.assertNoComplaints();
    },
  );

  await t.step(
    "the page shows the handshake, and how the accept key is made",
    async () => {
      const page = await browser.open(demo.url);
      await page.waitForText("#steps", "which is what the response says");
      const request = await text(page, "#request");
      assertMatch(request, /^GET \/tour\/[0-9a-f]{32} HTTP\/1\.1/);
      const [, key = ""] = /^Sec-WebSocket-Key: ([\w+/=]+)/im.exec(request) ??
        [];
      const response = await text(page, "#response");
      assert(response.startsWith("HTTP/1.1 101 Switching Protocols"));
      assert(response.includes(`Sec-WebSocket-Accept: ${acceptKey(key)}`));
      const steps = await text(page, "#steps");
      assert(steps.includes(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`));
      assert(steps.trimEnd().endsWith(acceptKey(key)));
      page.assertNoComplaints();
    },
  );

  await t.step(
    "each frame is drawn bit by bit, as the server saw it",
    async () => {
      const page = await browser.open(demo.url);
      await row(page, "client", "Hello").click();
      const drawn = await page.page.locator(
        "#drawing .bits:first-child .cells i",
      )
        .allInnerTexts();
      const bits = drawn.join("");
      assertEquals(bits.length, 8 * 11);
      assertEquals(bits.slice(0, 16), "1000000110000101");
      const bytes = bits.match(/.{8}/g)!.map((byte) => parseInt(byte, 2));
      const key = bytes.slice(2, 6);
      const payload = bytes.slice(6).map((byte, i) => byte ^ key[i % 4]!);
      assertEquals(String.fromCharCode(...payload), "Hello");
      const fields = await text(page, "#drawing dl");
      for (const part of ["0x1, text", "1, a client masks", "5, in 7 bits"]) {
        assert(fields.includes(part), part);
      }

      await row(page, "server", "Hello").click();
      assert(
        (await text(page, "#drawing dl")).includes("0, a server does not"),
      );
      assertEquals(
        (await page.page.locator("#drawing .bits .cells i").allInnerTexts())
          .join(""),
        "10000001" + "00000101" +
          Array.from(
            "Hello",
            (letter) => letter.charCodeAt(0).toString(2).padStart(8, "0"),
          ).join(""),
      );

      for (
        const [size, form] of [
          ["125", "125, in 7 bits"],
          ["126", "126, in 16 bits behind 126"],
          ["65,535", "65,535, in 16 bits behind 126"],
          ["65,536", "65,536, in 64 bits behind 127"],
        ] as const
      ) {
        await press(page, size);
        await row(page, "server", `${size} bytes`).click();
        assert((await text(page, "#drawing dl")).includes(form), form);
      }
      page.assertNoComplaints();
    },
  );

  await t.step(
    "the list of frames goes by arrow keys, and stops following",
    async () => {
      const page = await browser.open(demo.url);
      await press(page, "Stop");
      await press(page, "Ping");
      await row(page, "client", "pong").first().click();
      assert(!await page.page.getByLabel("draw each as it comes").isChecked());
      await page.page.keyboard.press("ArrowDown");
      const focused = page.page.locator("#frames button:focus");
      assertEquals(await focused.getAttribute("aria-pressed"), "true");
      assertEquals(await page.page.locator("[aria-pressed=true]").count(), 1);
      page.assertNoComplaints();
    },
  );

  await t.step(
    "the server pushes unasked, and stops and starts over when asked",
    async () => {
      const page = await browser.open(demo.url);
      const pushed = (progress: number) =>
        row(page, "server", `{"progress":${progress},"of":100}`);
      await pushed(6).waitFor();
      const [shown, told] = await page.page.evaluate(
        `[parseInt(document.querySelector("#progress").textContent),
        document.querySelector("#meter").ariaValueNow]`,
      ) as [number, string];
      assert(shown >= 6);
      assertEquals(told, `${shown}`);

      await press(page, "Stop");
      await press(page, "Ping"); // which comes after the order to stop
      await row(page, "server", "ping").nth(1).waitFor();
      const count = await row(page, "server", "progress").count();
      await page.page.waitForTimeout(600); // more than two pushes would take
      assertEquals(await row(page, "server", "progress").count(), count);

      await press(page, "Start over");
      await pushed(2).nth(1).waitFor();
      page.assertNoComplaints();
    },
  );

  await t.step("the server pings, and the browser answers", async () => {
    const page = await browser.open(demo.url);
    await page.waitForText("#trip", /^\d+\.\d\d ms/);
    await press(page, "Ping");
    await row(page, "server", "ping").nth(1).waitFor();
    await row(page, "client", "pong").nth(1).waitFor();
    await row(page, "client", "pong").first().click();
    assert((await text(page, "#drawing dl")).includes("0xa, pong"));
    page.assertNoComplaints();
  });

  await t.step(
    "either side closes with a code and a reason, and the page connects again",
    async () => {
      const page = await browser.open(demo.url);
      const { page: tab } = page;
      await page.waitForText("#lamp", "open");
      await tab.getByLabel("Code", { exact: true }).fill("1001");
      await press(page, "Close here");
      await page.waitForText(
        "#verdict",
        "must be either 1000, or between 3000",
      );

      await tab.getByLabel("Code", { exact: true }).fill("1012");
      await tab.getByLabel("Reason").fill("Zurück <b>gleich</b>");
      await press(page, "Have the server close");
      await page.waitForText("#lamp", "closed, 1012");
      await page.waitForText(
        "#verdict",
        "This page saw 1012 “Zurück <b>gleich",
      );
      await page.waitForText("#verdict", "The server saw 1012");
      await row(page, "server", "1012 Zurück").click();
      await page.waitForText("#drawing dl", /Close code\s*1012/);
      await row(page, "client", "close").waitFor();

      await press(page, "Connect again");
      await page.waitForText("#lamp", "open");
      await tab.getByLabel("Code", { exact: true }).fill("4321");
      await press(page, "Close here");
      await page.waitForText("#lamp", "closed, 4321");
      await page.waitForText("#verdict", "The server saw 4321");
      page.assertNoComplaints();
    },
  );

  await t.step(
    "compression is negotiated, and both forms of a payload are shown",
    async () => {
      const page = await browser.open(demo.url);
      await page.waitForText("#lamp", "open, no extension");
      await page.page.getByLabel("compress").check();
      await page.waitForText("#lamp", "open, permessage-deflate");
      await page.page.getByLabel("as text").check();
      await press(page, "65,536");
      await page.waitForText("#talk p", "text of 65,536 bytes, unchanged");
      for (const from of ["client", "server"] as const) {
        await row(page, from, "All work and no play").click();
        const fields = await text(page, "#drawing dl");
        assertMatch(fields, /100, the message is compressed/);
        assertMatch(fields, /65,536 bytes, from \d\.\d % of that/);
        await page.page.getByRole("region", { name: "Payload, inflated" })
          .waitFor();
      }
      page.assertNoComplaints();
    },
  );

  await t.step(
    "what is sent is shown as text, whatever it looks like",
    async () => {
      const page = await browser.open(demo.url);
      const message =
        `<img src="x" onerror="alert(1)"><script>alert(2)</script>`;
      await page.page.locator("#text").fill(message);
      await press(page, "Send");
      await page.waitForText("#talk p", message);
      await row(page, "client", "<img").click();
      assertEquals(await page.page.locator("img").count(), 0);
      page.assertNoComplaints();
    },
  );

  await t.step(
    "a phone shows all of it without scrolling sideways",
    async () => {
      for (const width of [320, 360, 400]) {
        const page = await browser.open(demo.url, {
          viewport: { width, height: 740 },
          isMobile: true,
          hasTouch: true,
        });
        await page.waitForText("#talk p", "Hello");
        await press(page, "1,000,000");
        await page.waitForText("#talk p", "1,000,000 bytes, unchanged");
        await row(page, "client", "Hello").click();
        assertEquals(
          await page.page.evaluate("document.documentElement.scrollWidth"),
          width,
        );
        page.assertNoComplaints();
        await page.page.close();
      }
    },
  );

  await t.step(
    "the page keeps a bounded number of frames and messages",
    async () => {
      const page = await browser.open(demo.url);
      await page.waitForText("#talk p", "Hello");
      await page.page.getByLabel("draw each as it comes").uncheck();
      await page.page.evaluate(`(async () => {
    const changed = () => new Promise((resolve) => {
      const observer = new MutationObserver(resolve);
      observer.observe(document.querySelector("#talk"), { childList: true });
    });
    for (let i = 0; i < 100; i++) {
      const answer = changed();
      document.querySelector("[data-size='125']").click();
      await answer;
    }
  })()`);
      await page.waitForText("#totals", /^2\d\d frames/);
      assertEquals(await page.page.locator("#frames li").count(), 150);
      assertEquals(await page.page.locator("#talk p").count(), 40);
      page.assertNoComplaints();
    },
  );
});

browserTest(
  "Ctrl-C says goodbye to the page, and the program ends well",
  async (browser) => {
    await using demo = await PageServer.start("demo");
    const page = await browser.open(demo.url);
    await page.waitForText("#lamp", "open");
    assertEquals(await demo.stop(), { code: 0, complaints: "" });
    await page.waitForText("#lamp", "closed, 1001");
    page.assertNoComplaints();
  },
  { signals: true },
);
