/** Takes the pictures of the tour in this folder: `deno task screenshots`. */
import { chromiumPath, Program, TestBrowser } from "../tests/_browser.ts";

const DESKTOP = { width: 1280, height: 1325 };
const PHONE = { width: 390, height: 844 };

const PICTURES = [
  { name: "tour", colorScheme: "light", viewport: DESKTOP },
  { name: "tour-dark", colorScheme: "dark", viewport: DESKTOP },
  { name: "tour-phone", colorScheme: "light", viewport: PHONE, isMobile: true },
] as const;

if (chromiumPath === undefined) throw new Error("Chromium is not installed");
await using demo = await Program.start("demo");
await using browser = await TestBrowser.launch(chromiumPath);
for (const { name, ...options } of PICTURES) {
  const { page } = await browser.open(demo.url, {
    ...options,
    reducedMotion: "reduce",
  });
  await page.getByRole("button", { name: "你好，世界", exact: true }).click();
  const row = page.locator("#frames button.from-client", { hasText: "Hello" });
  await row.click();
  if (options.viewport === PHONE) {
    await page.evaluate("document.querySelector('#frame').scrollIntoView()");
  } else {
    await page.evaluate("scrollTo(0, 0)");
  }
  await page.screenshot({
    path: new URL(`${name}.png`, import.meta.url).pathname,
  });
}
