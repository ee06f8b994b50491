/** The quotes in a real browser. */
import { assert, assertEquals } from "@std/assert";
import { readPage } from "../examples/_page.ts";
import { browserTest, PageServer, type TestPage } from "./_browser.ts";
import { TestServer } from "./_server.ts";

/** The symbols on the board, in order. */
async function symbols({ page }: TestPage): Promise<string[]> {
  return await page.locator(".quote h3").allInnerTexts();
}

async function pricesOf({ page }: TestPage): Promise<string> {
  return (await page.locator(".quote .price").allInnerTexts()).join();
}

async function waitForOtherPrices(
  { page }: TestPage,
  prices: string,
): Promise<void> {
  await page.waitForFunction(
    (prices: string) => {
      // @ts-ignore this runs in the page
      const all = Array.from(document.querySelectorAll(".quote .price"));
      return all.map((it) => (it as { innerText: string }).innerText)
        .join() !== prices;
    },
    prices,
    { polling: 100 },
  );
}

browserTest("quotes in a browser", async (browser, t) => {
  await using program = await PageServer.start("quotes");

  await t.step("prices move, compressed", async () => {
    const page = await browser.open(program.url);
    await page.waitForText("#lamp", /^open, permessage-deflate/);
    await page.waitForText(".quote .price", /^[▲▼] [\d,]+\.\d\d$/);
    await page.waitForText("#wire", /kB on the wire for .* kB of JSON/);
    await page.waitForText("#lag", /\d/);
    const paths = await page.page.locator(".quote path:last-child")
      .evaluateAll((all) =>
        (all as unknown as { getAttribute(name: string): string }[])
          .map((path) => path.getAttribute("d").split("L").length)
      );
    assertEquals(paths, Array(8).fill(60));
    page.assertNoComplaints();
  });

  await t.step("the board has what is asked for, in order", async () => {
    const page = await browser.open(program.url);
    const { page: it } = page;
    const press = (name: string) =>
      it.getByRole("button", { name, exact: true }).click();
    await page.waitForText(".quote h3", "IRON");
    const first = await symbols(page);
    assertEquals(first.length, 8);
    await press("CLAY");
    assertEquals(
      await symbols(page),
      first.filter((symbol) => symbol !== "CLAY"),
    );
    await press("TEA");
    await page.waitForText(".quote h3", "TEA");
    await press("CLAY");
    await page.waitForText(".quote h3", "CLAY");
    assertEquals(await symbols(page), [...first, "TEA"]);
    await press("none");
    assertEquals(await symbols(page), []);
    await press("all");
    await page.waitForText(".quote h3", "WOOL");
    assertEquals((await symbols(page)).length, 16);
    page.assertNoComplaints();
  });

  await t.step("a page that is slow skips, unless it wants all", async () => {
    const page = await browser.open(program.url);
    const { page: it } = page;
    await page.waitForText(".quote h3", "IRON");
    await it.getByLabel("100 ms").check();
    await page.waitForText(".quote .missed", /^\d+ skipped$/);
    // It gets the report although as much is on the way as may be.
    await page.waitForText("#unread", /^1[5-8]$/);
    await it.getByLabel("skip what is out of date").uncheck();
    // More wait than would be sent ahead.
    await page.waitForText("#unread", /^([4-9]\d|\d{3,})$/);
    await it.getByLabel("no time").check();
    await it.getByLabel("skip what is out of date").check();
    await page.waitForText("#unread", /^\d$/);
    const skipped = await it.locator(".missed").allInnerTexts();
    assert(skipped.some((text) => /^\d/.test(text)));
    page.assertNoComplaints();
  });

  await t.step("a page that is hidden goes on", async () => {
    const page = await browser.open(program.url);
    await page.waitForText(".quote .price", /\d/);
    // As in a tab that is left while a frame is awaited.
    await page.page.evaluate("requestAnimationFrame = () => 1");
    const before = await pricesOf(page);
    await page.page.evaluate(
      `Object.defineProperty(document, "hidden", { get: () => true });
      document.dispatchEvent(new Event("visibilitychange"));`,
    );
    await waitForOtherPrices(page, before);
    await waitForOtherPrices(page, await pricesOf(page));
    page.assertNoComplaints();
  });

  await t.step("it fits a phone", async () => {
    const page = await browser.open(program.url, {
      viewport: { width: 360, height: 740 },
    });
    await page.waitForText(".quote h3", "IRON");
    const width = await page.page.evaluate(
      "document.documentElement.scrollWidth",
    );
    assertEquals(width, 360);
  });
});

browserTest("a page comes back to its quotes", async (browser) => {
  await using program = await PageServer.start("quotes");
  const page = await browser.open(program.url);
  await page.waitForText("#lamp", /^open/);
  await page.waitForText(".quote .price", /\d/);
  const { port } = new URL(program.url);
  await program.stop();
  await page.waitForText("#lamp", /^(closed|connecting)/);
  const before = await pricesOf(page);
  await using _again = await PageServer.start("quotes", "--port", port);
  await page.waitForText("#lamp", /^open/);
  // Another server's prices are others.
  await waitForOtherPrices(page, before);
  await page.waitForText("#wire", /kB/);
});

browserTest("a page does not come back after a refusal", async (browser) => {
  let connections = 0;
  await using server = new TestServer({
    handler: await readPage(
      new URL("../examples/quotes/index.html", import.meta.url),
    ),
    onConnection: (ws) => {
      connections++;
      return ws.close(1008, "Not you");
    },
  });
  const page = await browser.open(`http://127.0.0.1:${server.port}/`);
  await page.waitForText("#lamp", "closed, 1008 Not you");
  // By then it would have tried again: no attempt waits longer than half a second.
  await page.page.waitForTimeout(600);
  assertEquals(connections, 1);
});
