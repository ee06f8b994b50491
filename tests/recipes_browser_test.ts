/** The recipe that has a page, in a real browser. */
import { Buffer } from "node:buffer";
import { encodeHex } from "@std/encoding/hex";
import { assert, assertEquals } from "@std/assert";
import { browserTest, PageServer } from "./_browser.ts";

/** Notes what the page shows, from now on. */
const NOTE_ALL = `
  noted = { parts: [], memory: [] };
  new MutationObserver(() => {
    const at = document.querySelector("#bar").getAttribute("aria-valuenow");
    if (noted.parts.at(-1) !== at) noted.parts.push(at);
    const memory = document.querySelector("#now").textContent;
    if (/^[0-9]/.test(memory)) noted.memory.push(memory);
  }).observe(document.querySelector("main"), {
    attributes: true,
    childList: true,
    subtree: true,
  });
`;

browserTest("the upload in a browser", async (browser, t) => {
  await using program = await PageServer.start("recipe:upload");

  await t.step("a file arrives as it was, and is seen to arrive", async () => {
    const page = await browser.open(program.url);
    for (const length of [3_000_000, 0]) {
      const buffer = Buffer.alloc(length, "WebSocket");
      await page.page.getByLabel("Choose a file").setInputFiles({
        name: "<img src=x onerror=alert(1)>.bin",
        mimeType: "application/octet-stream",
        buffer,
      });
      const digest = await crypto.subtle.digest("SHA-256", buffer);
      await page.waitForText("#hash", encodeHex(digest));
      await page.waitForText("#status", /^Done: /);
      assertEquals(await page.page.locator("#percent").innerText(), "100%");
    }
    page.assertNoComplaints();
  });

  await t.step("made-up bytes fill the bar, not the server", async () => {
    const page = await browser.open(program.url);
    await page.page.evaluate(NOTE_ALL);
    await page.page.getByRole("button", { name: "1 GiB" }).click();
    const done = page.page.locator("#status", {
      hasText: "Done: 1,024 MiB in",
    });
    await done.waitFor({ timeout: 120_000 });
    const bar = page.page.getByRole("progressbar");
    assertEquals(await bar.getAttribute("aria-valuenow"), "100");
    const { parts, memory } = await page.page.evaluate("noted") as {
      parts: string[];
      memory: string[];
    };
    // It is seen how far it is, and the server's memory, which stays as it is.
    const between = new Set(parts.map(Number));
    for (const end of [0, 100]) between.delete(end);
    assert(between.size > 0, `${parts}`);
    assertEquals(
      parts.map(Number),
      parts.map(Number).toSorted((a, b) => a - b),
    );
    const first = parseInt(memory[0]!);
    const most = Math.max(...memory.map((text) => parseInt(text)));
    assert(first > 10 && most - first < 128, `${memory}`);
    // The next one can be chosen from the keyboard.
    assertEquals(
      await page.page.evaluate("document.activeElement.textContent"),
      "1 GiB",
    );
    page.assertNoComplaints();
  });

  await t.step("it fits a phone", async () => {
    const page = await browser.open(program.url, {
      viewport: { width: 360, height: 740 },
    });
    await page.page.getByRole("button", { name: "16 MiB" }).click();
    await page.waitForText("#status", /^Done: /);
    const width = await page.page.evaluate(
      "document.documentElement.scrollWidth",
    );
    assertEquals(width, 360);
  });

  await t.step("one begins where the other was not", async () => {
    const page = await browser.open(program.url);
    const sizes = page.page.locator("#choice button");
    assertEquals(await sizes.allInnerTexts(), [
      ...["16 MiB", "128 MiB", "512 MiB", "1 GiB"],
    ]);
    await sizes.first().click();
    await page.waitForText("#status", /^Done: 16\.0 MiB in /);
    await program.stop();
    await sizes.first().click();
    await page.waitForText("#status", "The server is out of reach.");
    assertEquals(await page.page.locator("#percent").innerText(), "0%");
    assertEquals(await page.page.locator("#hash").innerText(), "–");
    assertEquals(await page.page.locator("#now").innerText(), "–");
    const line = page.page.locator("#line");
    assertEquals(await line.getAttribute("d"), null);
    const uncaught = page.complaints.filter((it) => it.startsWith("uncaught"));
    assertEquals(uncaught, []);
  });
});
