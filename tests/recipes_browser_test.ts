/** The recipe that has a page, in a real browser. */
import { Buffer } from "node:buffer";
import { encodeHex } from "@std/encoding/hex";
import { assert, assertEquals } from "@std/assert";
import { browserTest, Program } from "./_browser.ts";

browserTest("the upload in a browser", async (browser, t) => {
  await using program = await Program.start("recipe:upload");

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
      await page.waitForText("#pace", /^Done: /);
      assertEquals(await page.page.locator("#percent").innerText(), "100%");
    }
    page.assertNoComplaints();
  });

  await t.step("made-up bytes fill the bar, not the server", async () => {
    const page = await browser.open(program.url);
    await page.page.getByRole("button", { name: "16 MiB" }).click();
    await page.waitForText("#pace", /^Done: 16\.0 MiB in /);
    const bar = page.page.getByRole("progressbar");
    assertEquals(await bar.getAttribute("aria-valuenow"), "100");
    const memory = parseInt(await page.page.locator("#now").innerText());
    assert(memory > 10 && memory < 1000, `${memory} MiB`);
    page.assertNoComplaints();
  });

  await t.step("it fits a phone", async () => {
    const page = await browser.open(program.url, {
      viewport: { width: 360, height: 740 },
    });
    const width = await page.page.evaluate(
      "document.documentElement.scrollWidth",
    );
    assertEquals(width, 360);
  });
});
