/**
 * Takes the pictures in this folder: `deno task screenshots`, or some of them
 * with `deno task screenshots tour upload`.
 */
import { fileURLToPath } from "node:url";
import type { Page } from "playwright-core";
import { chromiumPath, PageServer, TestBrowser } from "../tests/_browser.ts";

const PHONE = { width: 390, height: 844 };

/** A picture: the task that it shows, and what to do before it is taken. */
interface Subject {
  task: string;
  /** How high the picture is, on a desktop; as high as the page if not given. */
  height?: number;
  /** Whether a phone's picture has what is on its screen only. */
  isScreenOnly?: boolean;
  prepare(page: Page, isPhone: boolean): Promise<void>;
}

const SUBJECTS: Record<string, Subject> = {
  tour: {
    task: "demo",
    height: 1325,
    isScreenOnly: true,
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
    async prepare(page) {
      await page.locator("#start").click();
      await page.locator("#status", { hasText: "All three have arrived." })
        .waitFor({ timeout: 90_000 });
      await page.mouse.move(0, 0);
    },
  },
  quotes: {
    task: "quotes",
    async prepare(page) {
      await page.locator(".quote").first().waitFor();
      await page.waitForTimeout(25_000);
      await page.getByLabel("100 ms").check();
      await page.waitForTimeout(25_000);
    },
  },
  upload: {
    task: "recipe:upload",
    async prepare(page) {
      await page.getByRole("button", { name: "1 GiB" }).click();
      await page.waitForFunction(
        () => {
          // @ts-ignore this runs in the page
          return parseInt(document.querySelector("#percent").textContent) > 60;
        },
        undefined,
        { timeout: 120_000 },
      );
    },
  },
};

if (chromiumPath === undefined) throw new Error("Chromium is not installed");
const names = Deno.args.length > 0 ? Deno.args : Object.keys(SUBJECTS);
await using browser = await TestBrowser.launch(chromiumPath);
for (const name of names) {
  const { task, height, isScreenOnly = false, prepare } = SUBJECTS[name]!;
  await using program = await PageServer.start(task);
  for (const picture of ["", "-dark", "-phone", "-phone-dark"]) {
    const isPhone = picture.startsWith("-phone");
    if (isScreenOnly && picture === "-phone-dark") continue;
    const { page } = await browser.open(program.url, {
      viewport: isPhone ? PHONE : { width: 1280, height: height ?? 900 },
      isMobile: isPhone,
      colorScheme: picture.endsWith("dark") ? "dark" : "light",
      reducedMotion: "reduce",
    });
    await prepare(page, isPhone);
    await page.screenshot({
      path: fileURLToPath(new URL(`${name}${picture}.png`, import.meta.url)),
      fullPage: isPhone ? !isScreenOnly : height === undefined,
    });
  }
}
