/** Takes the pictures of danmaku in this folder: `deno task screenshots:danmaku`. */
import { fileURLToPath } from "node:url";
import { Danmaku } from "../examples/danmaku/danmaku.ts";
import { chromiumPath, TestBrowser } from "../tests/_browser.ts";
import { Viewer } from "../tests/_danmaku.ts";
import { TestServer } from "../tests/_server.ts";

const ROOM = "夜空";
const COLORS = [0, 0, 1, 0, 2, 0, 3, 0, 4, 0, 5];

const CONVERSATION = [
  ["小满", "晚上好,今天的月亮真圆"],
  ["Maya", "Good evening from Lisbon"],
  ["阿澈", "前排围观"],
  ["Jonas", "the lanterns!! 🏮"],
  ["", "打卡打卡"],
  ["林深", "风好像停了"],
  ["Noor", "first time here, hi"],
  ["Kai", "how is everyone so calm"],
  ["一一", "因为海很慢"],
  ["小满", "说得真好"],
  ["Maya", "saving that line"],
  ["Ines", "太美了吧"],
  ["阿澈", "前方高能"],
  ["Theo", "where is this?"],
  ["林深", "哪里都可以是这里"],
  ["Noor", "❤️"],
  ["Ola", "<b>hello</b> & good night"],
  ["一一", "晚安 goodnight"],
] as const;

const DESKTOP = { width: 1280, height: 800 };
const PHONE = {
  viewport: { width: 390, height: 844 },
  deviceScaleFactor: 2,
  isMobile: true,
  hasTouch: true,
};

const PICTURES = [
  { name: "danmaku", viewport: DESKTOP },
  {
    name: "danmaku-dark",
    viewport: DESKTOP,
    colorScheme: "dark",
    locale: "zh-CN",
  },
  { name: "danmaku-phone", ...PHONE, colorScheme: "dark" },
] as const;

if (chromiumPath === undefined) throw new Error("Chromium is not installed");
await using browser = await TestBrowser.launch(chromiumPath);
for (const { name, ...options } of PICTURES) {
  const danmaku = await Danmaku.open({ rate: 1000 });
  const server = new TestServer(danmaku.serveOptions);
  const url = server.url.replace("ws:", "http:");
  const { page } = await browser.open(`${url}#${ROOM}`, options);
  await page.locator("#watching[data-state=here]").waitFor();
  const crowd = await Viewer.enter(server.url, ROOM);
  for (const [i, [name, text]] of CONVERSATION.entries()) {
    if (i === 9) {
      await page.fill("#name", "Lee 小李");
      await page.fill("#text", "Hello 大家好!");
      await page.click("#send");
      await page.locator("#text").blur();
    }
    crowd.say(text, { name, color: COLORS[i % COLORS.length]! });
    await page.waitForTimeout(390);
  }
  await page.screenshot({
    path: fileURLToPath(new URL(`${name}.png`, import.meta.url)),
  });
  await page.close();
  await crowd[Symbol.asyncDispose]();
  await danmaku.close();
  await server[Symbol.asyncDispose]();
}
