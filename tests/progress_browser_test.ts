/** The three ways to learn how far a job is, in a real browser. */
import { assert, assertEquals } from "@std/assert";
import { browserTest, Program, type TestPage } from "./_browser.ts";

async function numberIn({ page }: TestPage, id: string): Promise<number> {
  return Number((await page.locator(`#${id}`).innerText()).replace(",", ""));
}

browserTest("progress in a browser", async (browser, t) => {
  await using program = await Program.start("progress");

  await t.step("all three arrive, and say what they cost", async () => {
    const page = await browser.open(program.url);
    await page.page.locator("#seconds").evaluate((select: unknown) => {
      // A job that is shorter than any that is offered.
      const [option] = (select as { options: { value: string }[] }).options;
      option!.value = "4";
    });
    await page.page.locator("#seconds").selectOption({ index: 0 });
    await page.page.locator("#interval").selectOption("500");
    await page.page.getByRole("button", { name: "Start" }).click();
    await page.waitForText("#status", "All three have arrived.");
    for (const meter of await page.page.getByRole("progressbar").all()) {
      assertEquals(await meter.getAttribute("aria-valuenow"), "100");
    }
    assertEquals(await numberIn(page, "push-requests"), 1);
    assert(await numberIn(page, "polling-requests") >= 4);
    assert(await numberIn(page, "long-requests") >= 2);
    for (const figure of ["up", "down"]) {
      const push = await numberIn(page, `push-${figure}`);
      assert(push > 100);
      assert(push < await numberIn(page, `polling-${figure}`));
      assert(push < await numberIn(page, `long-${figure}`));
    }
    for (const way of ["polling", "long", "push"]) {
      assert(await numberIn(page, `${way}-mean`) > 0);
      assert(
        await numberIn(page, `${way}-longest`) >=
          await numberIn(page, `${way}-mean`),
      );
    }
    const paths = await page.page.locator("#lanes path").evaluateAll((all) =>
      (all as unknown as { getAttribute(name: string): string }[])
        .map((path) => path.getAttribute("d").split("M").length - 1)
    );
    // Of each lane: the steps, and the requests.
    assertEquals([paths[0], paths[2], paths[4]], [4, 4, 4]);
    assertEquals(paths[5], 1);
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
