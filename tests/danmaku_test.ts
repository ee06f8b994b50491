/** Danmaku: what comments may be, its rooms, and its page in a browser. */
import { assert, assertEquals, assertRejects } from "@std/assert";
import {
  HandshakeError,
  Hub,
  InProcessBackplane,
  type WebSocketConnection,
} from "../mod.ts";
import { clean, readDraft, readRoomName } from "../examples/danmaku/comment.ts";
import { Danmaku, type DanmakuOptions } from "../examples/danmaku/danmaku.ts";
import { RateLimit, Throttle } from "../examples/danmaku/pace.ts";
import { Room } from "../examples/danmaku/room.ts";
import { browserTest, PageServer, type TestPage } from "./_browser.ts";
import { Viewer } from "./_danmaku.ts";
import {
  dialFromElsewhere,
  ELSEWHERE,
  request,
  TestServer,
  within,
} from "./_server.ts";

// --- What comments may be ----------------------------------------------------

Deno.test("comments are one visible line of a limited length", () => {
  for (
    const [given, cleaned] of [
      ["  two\n\t words ", "two words"],
      ['<b>bold</b> & "so"', '<b>bold</b> & "so"'],
      ["a\u0000b\u0007c\u009fd", "abcd"],
      ["left\u202eright\u2066", "leftright"],
      ["zero\u200bwidth\ufeff", "zerowidth"],
      ["👨\u200d👩\u200d👧", "👨\u200d👩\u200d👧"],
      ["می\u200cخواهم", "می\u200cخواهم"],
      ["e\u0301", "é"],
      [`Z${"\u0335".repeat(50)}algo`, `Z${"\u0335".repeat(4)}algo`],
      ["half \ud83d pair", "half \ufffd pair"],
      ["😀".repeat(30), "😀".repeat(20)],
      ["弹".repeat(21), "弹".repeat(20)],
      ["\u200b\n", ""],
      [7, ""],
      [null, ""],
    ] as const
  ) assertEquals(clean(given, 20), cleaned, JSON.stringify(given));
});

Deno.test("a draft has a text, and the rest is put right", () => {
  const read = (value: unknown) => readDraft(JSON.stringify(value));
  assertEquals(read({ name: " A ", text: "x", color: 2 }), {
    name: "A",
    text: "x",
    color: 2,
  });
  for (const color of [-1, 1.5, "red", undefined, 1e999]) {
    assertEquals(read({ text: "x", color }), { name: "", text: "x", color: 0 });
  }
  assertEquals(read({ text: "x", color: 9 })?.color, 3);
  for (const wrong of [{}, { text: "" }, { text: 1 }, null, 1, "x", []]) {
    assertEquals(read(wrong), undefined);
  }
  assertEquals(readDraft("{"), undefined);
  assertEquals(readDraft(new Uint8Array(3)), undefined);
});

Deno.test("rooms have short names of letters and digits", () => {
  for (
    const [target, name] of [
      ["/rooms/lobby", "lobby"],
      ["/rooms/Lobby-2", "lobby-2"],
      ["/rooms/%E5%A4%9C%E7%A9%BA", "夜空"],
      ["/rooms/", undefined],
      ["/rooms/a/b", undefined],
      ["/rooms/a%2Fb", undefined],
      ["/rooms/%E5", undefined],
      ["/rooms/-a", undefined],
      [`/rooms/${"a".repeat(33)}`, undefined],
      ["/lobby", undefined],
    ] as const
  ) assertEquals(readRoomName(target), name, target);
});

Deno.test("a rate limit lets some through at once, and then so many a second", () => {
  const limit = new RateLimit(2, 3, 0);
  assertEquals([0, 0, 0, 0].map((now) => limit.take(now)), [0, 0, 0, 500]);
  assertEquals([250, 500, 750].map((now) => limit.take(now)), [250, 0, 250]);
  assertEquals([9e9, 9e9, 9e9, 9e9].map((now) => limit.take(now) > 0), [
    false,
    false,
    false,
    true,
  ]);
});

Deno.test("a throttle acts at once, then no more often than it may", async () => {
  let acts = 0;
  const { promise, resolve } = Promise.withResolvers<void>();
  const throttle = new Throttle(() => {
    if (++acts === 2) resolve();
  }, 5);
  for (let i = 0; i < 10; i++) throttle.trigger();
  assertEquals(acts, 1);
  await within(promise);
  throttle.trigger();
  throttle.trigger();
  assertEquals(acts, 2);
  throttle.cancel();
});

// --- Rooms -------------------------------------------------------------------

class Cinema implements AsyncDisposable {
  readonly danmaku: Danmaku;
  readonly server: TestServer;

  private constructor(danmaku: Danmaku) {
    this.danmaku = danmaku;
    this.server = new TestServer(danmaku.serveOptions);
  }

  static async open(options: DanmakuOptions = {}): Promise<Cinema> {
    const generous = { rate: 1000, roomRate: 1000 };
    return new Cinema(await Danmaku.open({ ...generous, ...options }));
  }

  get url(): string {
    return this.server.url;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.danmaku.close();
    await this.server[Symbol.asyncDispose]();
  }
}

Deno.test("a comment is for those in the room, its author among them", async () => {
  await using cinema = await Cinema.open();
  await using anna = await Viewer.enter(cinema.url);
  await using ben = await Viewer.enter(cinema.url);
  await using cleo = await Viewer.enter(cinema.url, "夜空");
  anna.say("hello", { name: "Anna", color: 2 });
  await ben.hears("hello");
  await anna.hears("hello");
  const [comment] = ben.comments;
  assertEquals([comment!.name, comment!.color], ["Anna", 2]);
  assertEquals(comment!.by, anna.welcome.you);
  cleo.say("elsewhere");
  await cleo.hears("elsewhere");
  assertEquals([anna.texts, cleo.texts], [["hello"], ["elsewhere"]]);
});

Deno.test("viewers are counted", async () => {
  await using cinema = await Cinema.open();
  await using anna = await Viewer.enter(cinema.url);
  assertEquals(anna.viewers, 1);
  {
    await using ben = await Viewer.enter(cinema.url);
    assertEquals(ben.viewers, 2);
    await anna.until(() => anna.viewers === 2);
  }
  await anna.until(() => anna.viewers === 1);
});

Deno.test("late joiners get the last 50 comments, in order", async () => {
  await using cinema = await Cinema.open();
  await using anna = await Viewer.enter(cinema.url);
  const texts = Array.from({ length: 60 }, (_, i) => `${i}`);
  for (const text of texts) anna.say(text);
  await anna.hears("59");
  assertEquals(anna.texts, texts);
  await using ben = await Viewer.enter(cinema.url);
  assertEquals(ben.welcome.recent.map(({ text }) => text), texts.slice(10));
});

Deno.test("a viewer that says too much is refused, and in the end disconnected", async () => {
  await using cinema = await Cinema.open({ rate: 1 });
  await using anna = await Viewer.enter(cinema.url);
  for (let i = 0; i < 3; i++) anna.say(`${i}`);
  await anna.until(() => anna.updates.some((it) => it.type === "refused"));
  const refusal = anna.updates.find((it) => it.type === "refused");
  assert(refusal?.type === "refused" && refusal.retryAfter <= 1000);
  for (let i = 0; i < 40; i++) anna.say(`${i}`);
  const { code } = await within(anna.ws.closed);
  assertEquals([code, anna.texts[0]], [1008, "0"]);
  assert(anna.texts.length <= 2);
});

Deno.test("a room takes so many comments, however many viewers make them", async () => {
  await using cinema = await Cinema.open({ roomRate: 5 });
  await using anna = await Viewer.enter(cinema.url);
  const crowd = await Promise.all(
    Array.from({ length: 20 }, () => Viewer.enter(cinema.url)),
  );
  await using cleo = await Viewer.enter(cinema.url, "elsewhere");
  const began = performance.now();
  for (const viewer of crowd) for (let i = 0; i < 5; i++) viewer.say("x");
  const answers = ({ comments, updates, welcome: { you } }: Viewer) =>
    comments.filter(({ by }) => by === you).length +
    updates.filter(({ type }) => type === "refused").length;
  await Promise.all(
    crowd.map((viewer) => viewer.until(() => answers(viewer) === 5)),
  );
  const most = 10 + 5 * (performance.now() - began) / 1000;
  assert(anna.texts.length <= most, `${anna.texts.length} comments`);
  // No single viewer is refused, and other rooms have limits of their own.
  cleo.say("calm");
  await cleo.hears("calm");
  await Promise.all(crowd.map((viewer) => viewer.ws.ping()));
  await Promise.all(crowd.map((viewer) => viewer[Symbol.asyncDispose]()));
});

Deno.test("a viewer that does not read is sent no refusals, which would pile up", async () => {
  const hub = new Hub();
  const room = new Room("lobby", hub, { rate: 1, roomRate: 100, gather: 0 });
  for (const [bufferedAmount, told] of [[0, 28], [100_000, 0]] as const) {
    const sent: string[] = [];
    const watched = Promise.withResolvers<void>();
    let hear: ((message: string) => void) | undefined;
    const viewer = {
      bufferedAmount,
      send: (message: unknown) => {
        if (typeof message === "string") sent.push(message);
      },
      close: () => {},
      forEach: (act: (message: string) => void) => {
        hear = act;
        return watched.promise;
      },
    };
    const watching = room.welcome(viewer as unknown as WebSocketConnection);
    // Two at once are allowed.
    for (let i = 0; i < 30; i++) hear!('{"text":"x"}');
    const refused = sent.filter((text) => text.includes("refused"));
    assertEquals(refused.length, told);
    watched.resolve();
    await watching;
  }
  room.close();
  await hub.close();
});

Deno.test("what is no comment is passed over", async () => {
  await using cinema = await Cinema.open();
  await using anna = await Viewer.enter(cinema.url);
  for (const wrong of ["{", "[]", '{"text":""}', "null"]) anna.ws.send(wrong);
  anna.ws.send(new Uint8Array(8));
  anna.say("well");
  await anna.hears("well");
  assertEquals(anna.texts, ["well"]);
});

Deno.test("there is nothing but rooms to connect to, and nothing but the page", async () => {
  await using cinema = await Cinema.open();
  await assertRejects(
    () => Viewer.enter(new URL("x/", cinema.url).href),
    HandshakeError,
    "404",
  );
  const page = await cinema.server.ask(request("GET /"));
  assertEquals(page.status, 200);
  const policy = page.headers.get("content-security-policy") ?? "";
  assert(policy.includes("default-src 'none'"));
  assertEquals((await cinema.server.ask(request("GET /x"))).status, 404);
  assertEquals((await cinema.server.ask(request("DELETE /"))).status, 405);
});

Deno.test({
  name: "one address can't keep all rooms open",
  ignore: ELSEWHERE === undefined,
  fn: async () => {
    await using cinema = await Cinema.open();
    const { port } = cinema.server;
    const crowd = await Promise.all(
      Array.from({ length: 100 }, (_, i) => Viewer.enter(cinema.url, `r${i}`)),
    );
    const refused = await assertRejects(
      () => Viewer.enter(cinema.url, "mine"),
      HandshakeError,
      "503",
    );
    assertEquals(refused.status, 503);
    // Rooms that are open already are for all, and others have their own.
    const dial = () => dialFromElsewhere(port);
    await using other = await Viewer.enter(cinema.url, "mine", { dial });
    await using anna = await Viewer.enter(cinema.url, "mine");
    other.say("welcome");
    await anna.hears("welcome");
    // An empty room makes place for another.
    await crowd.pop()![Symbol.asyncDispose]();
    await using ben = await Viewer.enter(cinema.url, "another");
    assertEquals(ben.viewers, 1);
    await Promise.all(crowd.map((viewer) => viewer[Symbol.asyncDispose]()));
  },
});

Deno.test("processes share comments, viewers, and what was said before", async () => {
  const backplane = new InProcessBackplane();
  const hub = () => new Hub({ backplane });
  await using first = await Cinema.open({ hub: hub(), server: "1" });
  await using anna = await Viewer.enter(first.url);
  anna.say("before");
  await anna.hears("before");

  await using second = await Cinema.open({ hub: hub(), server: "2" });
  await using ben = await Viewer.enter(second.url);
  assertEquals([anna.welcome.server, ben.welcome.server], ["1", "2"]);
  await ben.until(() =>
    ben.updates.some((update) =>
      update.type === "recent" && update.comments[0]?.text === "before"
    )
  );
  await ben.until(() => ben.viewers === 2);
  await anna.until(() => anna.viewers === 2);
  ben.say("after");
  await anna.hears("after");
  await using cleo = await Viewer.enter(second.url);
  assertEquals(cleo.welcome.recent.map(({ text }) => text), [
    "before",
    "after",
  ]);
});

Deno.test("the task serves the page and the rooms, with the permissions it has", async () => {
  await using program = await PageServer.start("danmaku");
  const response = await within(fetch(program.url));
  assert((await response.text()).includes("弹幕"));
  await using anna = await Viewer.enter(program.url.replace("http", "ws"));
  assertEquals(anna.viewers, 1);
});

// --- The page ----------------------------------------------------------------

function httpUrl(cinema: Cinema, room: string): string {
  return `${cinema.url.replace("ws:", "http:")}#${encodeURIComponent(room)}`;
}

/** The texts in its list of comments. */
async function listed(tab: TestPage): Promise<string[]> {
  return await tab.page.locator("#list li").allInnerTexts();
}

async function sayIn(tab: TestPage, text: string): Promise<void> {
  await tab.page.fill("#text", text);
  await tab.page.click("#send");
}

browserTest(
  "tabs in a room see each other's comments, and no other room's",
  async (browser) => {
    await using cinema = await Cinema.open();
    const [anna, ben, cleo] = await Promise.all(
      ["lobby", "lobby", "夜空"].map((room) =>
        browser.open(httpUrl(cinema, room), { locale: "en-GB" })
      ),
    ) as [TestPage, TestPage, TestPage];
    for (const tab of [anna, ben]) {
      await tab.waitForText("#watching", "2 watching");
    }
    await cleo.waitForText("#watching", "1 watching");

    await anna.page.fill("#name", "安娜");
    await sayIn(anna, "你好 hello");
    for (const tab of [anna, ben]) {
      await tab.waitForText("#list", "安娜你好 hello");
      await tab.page.locator('#stage[data-shown="1"]').waitFor();
    }
    await sayIn(cleo, "elsewhere");
    await cleo.waitForText("#list", "elsewhere");
    assertEquals(await listed(cleo), ["Somebodyelsewhere"]);
    assertEquals((await listed(anna)).length, 1);

    // A tab that changes rooms leaves one for the other.
    await cleo.page.getByText("lobby", { exact: true }).click();
    await cleo.waitForText("#watching", "3 watching");
    await cleo.waitForText("#list", "你好 hello");
    assertEquals((await listed(cleo)).length, 1);
    for (const tab of [anna, ben, cleo]) tab.assertNoComplaints();
  },
);

browserTest(
  "names and texts are shown as what they are, never as HTML",
  async (browser) => {
    await using cinema = await Cinema.open();
    const tab = await browser.open(httpUrl(cinema, "lobby"));
    await using mallory = await Viewer.enter(cinema.url);
    const html = `<img src=x onerror="document.title='owned'">`;
    mallory.say(html, { name: "<b>M</b>" });
    await tab.waitForText("#list", html);
    assertEquals(await tab.page.locator("#list img, #list b b").count(), 0);
    assert(!(await tab.page.title()).includes("owned"));
    tab.assertNoComplaints();
  },
);

browserTest(
  "a page that is too fast is told to wait, and loses nothing; it comes back to its server",
  async (browser) => {
    const cinema = await Cinema.open({ rate: 0.02 });
    const tab = await browser.open(httpUrl(cinema, "lobby"), {
      locale: "zh-CN",
    });
    await tab.waitForText("#watching", "1 人正在看");
    for (const text of ["一", "二", "三"]) {
      await sayIn(tab, text);
    }
    await tab.page.locator("#send:disabled").filter({ hasText: /\d s/ })
      .waitFor();
    assertEquals(await tab.page.inputValue("#text"), "三");
    await cinema[Symbol.asyncDispose]();
    await tab.waitForText("#watching", "秒后重连");
  },
);

browserTest(
  "500 comments a second cost less of a frame than there is",
  async (browser) => {
    await using cinema = await Cinema.open({
      rate: 100_000,
      roomRate: 100_000,
    });
    const tab = await browser.open(httpUrl(cinema, "lobby"));
    await tab.waitForText("#watching", /\d/);
    await tab.page.click("#all"); // those without a free lane, too
    await using crowd = await Viewer.enter(cinema.url);
    let sent = 0;
    const begin = performance.now();
    const rain = setInterval(() => {
      const due = (performance.now() - begin) / 2;
      for (; sent < due; sent++) crowd.say(`第 ${sent} 条 comment`);
    }, 10);
    try {
      // The processor time of the page's main thread, whatever else runs here.
      const devtools = await tab.page.context().newCDPSession(tab.page);
      await devtools.send("Performance.enable", { timeDomain: "threadTicks" });
      const stage = tab.page.locator("#stage");
      const read = async (name: string) =>
        Number(await stage.getAttribute(`data-${name}`));
      const look = async () => {
        const { metrics } = await devtools.send("Performance.getMetrics");
        return {
          time: metrics.find(({ name }) => name === "TaskDuration")!.value,
          frames: await read("frames"),
          comments: await read("shown") + await read("hidden"),
        };
      };
      await tab.page.locator('#stage[data-shown]:not([data-shown="0"])')
        .waitFor();
      const first = await look();
      while (await read("frames") < first.frames + 90) {
        assert(performance.now() - begin < 60_000, "The page stands still");
        await tab.page.waitForTimeout(100);
      }
      const last = await look();
      const frames = last.frames - first.frames;
      const cost = (last.time - first.time) * 1000 / frames;
      assert(cost < 1000 / 60, `${cost.toFixed(1)} ms of ${frames} frames`);
      assert(last.comments > first.comments + 90);
    } finally {
      clearInterval(rain);
    }
    await crowd.until(() => crowd.texts.length === sent);
    tab.assertNoComplaints();
  },
);
