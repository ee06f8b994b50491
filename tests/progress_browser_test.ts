/** The three ways to learn how far a job is, in a real browser. */
import { assert, assertEquals } from "@std/assert";
import { browserTest, PageServer, type TestPage } from "./_browser.ts";

async function numberIn({ page }: TestPage, id: string): Promise<number> {
  return Number((await page.locator(`#${id}`).innerText()).replace(",", ""));
}

/** Where the marks of each lane are, from 0 to 1000. */
async function marksIn({ page }: TestPage, name: string): Promise<number[][]> {
  const paths = await page.locator(`#lanes .${name}`).evaluateAll((all) =>
    (all as unknown as { getAttribute(name: string): string }[])
      .map((path) => path.getAttribute("d"))
  );
  return paths.map((path) => path.split("M").slice(1).map(parseFloat));
}

browserTest("progress in a browser", async (browser, t) => {
  await using program = await PageServer.start("progress");

  const runJob = async (page: TestPage) => {
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
    const polls = await numberIn(page, "polling-requests");
    const longPolls = await numberIn(page, "long-requests");
    const dots = await marksIn(page, "dots");
    assertEquals(dots.map(({ length }) => length), [4, 4, 4]);
    const asked = await marksIn(page, "asked");
    assertEquals(asked.map(({ length }) => length), [polls, longPolls, 1]);
    // The last request may be later than the job is long: the chart is longer.
    for (const x of [...dots, ...asked].flat()) {
      assert(x >= 0 && x <= 1000, `${x}`);
    }
    page.assertNoComplaints();
  };

  await t.step("all three arrive, and say what they cost", async () => {
    const page = await browser.open(program.url);
    await runJob(page);
    // It can be done again, from the keyboard.
    const focused = await page.page.evaluate("document.activeElement.id");
    assertEquals(focused, "start");
  });

  await t.step("it fits a phone", async () => {
    const page = await browser.open(program.url, {
      viewport: { width: 360, height: 740 },
    });
    await runJob(page);
    const width = await page.page.evaluate(
      "document.documentElement.scrollWidth",
    );
    assertEquals(width, 360);
  });

  await t.step("a server that dies is told of", async () => {
    const page = await browser.open(program.url);
    await page.page.getByRole("button", { name: "Start" }).click();
    await page.waitForText("#push-requests", "1");
    await program.stop();
    await page.waitForText("#status", "It went wrong: the server is out of");
    // It may be there again, some time.
    await page.page.locator("#start:enabled").waitFor();
    const uncaught = page.complaints.filter((it) => it.startsWith("uncaught"));
    assertEquals(uncaught, []);
  });
});
