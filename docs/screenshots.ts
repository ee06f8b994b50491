/**
 * Takes the pictures in this folder: `deno task screenshots`, or some of them
 * with `deno task screenshots tour upload`.
 */
import type { Page } from "playwright-core";
import { chromiumPath, PageServer, TestBrowser } from "../tests/_browser.ts";

const PHONE = { width: 390, height: 844 };

/** What there is a picture of: a task, and what to do before it is taken. */
interface Subject {
  task: string;
  /** How high the picture is, on a desktop. */
  height: number;
  prepare(page: Page, isPhone: boolean): Promise<void>;
}

const SUBJECTS: Record<string, Subject> = {
  tour: {
    task: "demo",
    height: 1325,
    async prepare(page, isPhone) {
      await page.getByRole("button", { name: "你好，世界", exact: true })
        .click();
      await page.locator("#frames button.from-client", { hasText: "Hello" })
        .click();
      await page.evaluate(
        isPhone
          ? "document.querySelector('#frame').scrollIntoView()"
          : "scrollTo(0, 0)",
      );
    },
  },
  progress: {
    task: "progress",
    height: 1540,
    async prepare(page) {
      await page.locator("#start").click();
      await page.locator("#status", { hasText: "All three have arrived." })
        .waitFor({ timeout: 90_000 });
      await page.mouse.move(0, 0);
    },
  },
  quotes: {
    task: "quotes",
    height: 1260,
    async prepare(page, isPhone) {
      await page.locator(".quote").first().waitFor();
      if (isPhone) return await page.waitForTimeout(5000);
      await page.waitForTimeout(15_000);
      await page.getByLabel("100 ms").check();
      await page.waitForTimeout(20_000);
    },
  },
  upload: {
    task: "recipe:upload",
    height: 1040,
    async prepare(page) {
      const file = await Deno.makeTempFile({ suffix: ".bin" });
      try {
        await Deno.truncate(file, 1024 ** 3);
        await page.getByLabel("Choose a file").setInputFiles(file);
        await page.waitForFunction(
          () => {
            // @ts-ignore this runs in the page
            return parseInt(document.querySelector("#percent").textContent) >
              60;
          },
          undefined,
          { timeout: 120_000 },
        );
      } finally {
        await Deno.remove(file);
      }
    },
  },
};

if (chromiumPath === undefined) throw new Error("Chromium is not installed");
const names = Deno.args.length > 0 ? Deno.args : Object.keys(SUBJECTS);
await using browser = await TestBrowser.launch(chromiumPath);
for (const name of names) {
  const { task, height, prepare } = SUBJECTS[name]!;
  const desktop = { width: 1280, height };
  const pictures = [
    { suffix: "", colorScheme: "light", viewport: desktop },
    { suffix: "-dark", colorScheme: "dark", viewport: desktop },
    { suffix: "-phone", colorScheme: "light", viewport: PHONE, isMobile: true },
  ] as const;
  await using program = await PageServer.start(task);
  for (const { suffix, ...options } of pictures) {
    const { page } = await browser.open(program.url, {
      ...options,
      reducedMotion: "reduce",
    });
    await prepare(page, options.viewport === PHONE);
    await page.screenshot({
      path: new URL(`${name}${suffix}.png`, import.meta.url).pathname,
    });
  }
}
