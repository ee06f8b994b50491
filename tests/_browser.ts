/** A real browser for tests: headless Chromium, driven by Playwright. */
import type {
  Browser,
  BrowserContext,
  BrowserContextOptions,
  Page,
} from "playwright-core";
import { assertEquals } from "@std/assert";
import type { Program } from "./_program.ts";
import { startServer } from "./_task.ts";

// The browser makes no requests of its own.
const FLAGS = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
  "--no-proxy-server",
];

const PATIENCE = 15_000;

/** Where Chromium is, if it is installed; the variable `CHROMIUM` says it first. */
export const chromiumPath: string | undefined = [
  Deno.env.get("CHROMIUM") ?? "",
  "/usr/bin/chromium",
  "/usr/bin/chromium-browser",
  "/usr/bin/google-chrome",
  "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
].find(isFile);

function isFile(path: string): boolean {
  try {
    return path !== "" && Deno.statSync(path).isFile;
  } catch {
    return false;
  }
}

/**
 * Registers a test that is given a browser; ignored where there is none, and where
 * it has `signals` sent, but the system cannot.
 */
export function browserTest(
  name: string,
  run: (browser: TestBrowser, t: Deno.TestContext) => Promise<void>,
  { signals = false } = {},
): void {
  if (chromiumPath === undefined) {
    Deno.test({
      name: `${name} (Chromium is not installed)`,
      ignore: true,
      fn: () => {},
    });
    return;
  }
  const ignore = signals && Deno.build.os === "windows";
  Deno.test(name, { ignore }, async (t) => {
    await using browser = await TestBrowser.launch(chromiumPath);
    await run(browser, t);
  });
}

async function loadPlaywright(): Promise<typeof import("playwright-core")> {
  // One of its parts looks for Windows in files below /proc that Deno opens with
  // --allow-all only, and tests have less. It does not look if it is tested.
  Deno.env.set("__IS_WSL_TEST__", "true");
  const playwright = await import("playwright-core");
  Deno.env.delete("__IS_WSL_TEST__");
  return playwright;
}

/** A browser with a profile of its own, which is removed with it. */
export class TestBrowser implements AsyncDisposable {
  readonly #browser: Browser;
  #context: BrowserContext | undefined;

  private constructor(browser: Browser) {
    this.#browser = browser;
  }

  static async launch(executablePath: string): Promise<TestBrowser> {
    const { chromium } = await loadPlaywright();
    const browser = await chromium.launch({
      executablePath,
      headless: true,
      args: FLAGS,
      timeout: PATIENCE,
    });
    return new TestBrowser(browser);
  }

  /** Opens a page at an address, in place of the one before, and loads it. */
  async open(url: string, options?: BrowserContextOptions): Promise<TestPage> {
    await this.#context?.close();
    this.#context = await this.#browser.newContext(options);
    this.#context.setDefaultTimeout(PATIENCE);
    const page = await TestPage.create(this.#context);
    await page.page.goto(url);
    return page;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#browser.close();
  }
}

/** A page, and the errors that it reports. */
export class TestPage {
  readonly page: Page;
  /** Errors and warnings on its console, and exceptions that nobody caught. */
  readonly complaints: string[] = [];

  private constructor(page: Page) {
    this.page = page;
    page.on("console", (message) => {
      if (["error", "warning"].includes(message.type())) {
        this.complaints.push(`${message.type()}: ${message.text()}`);
      }
    });
    page.on("pageerror", (error) => {
      this.complaints.push(`uncaught: ${error.message}`);
    });
  }

  static async create(context: BrowserContext): Promise<TestPage> {
    return new TestPage(await context.newPage());
  }

  /**
   * Runs a function in the page, no longer than `milliseconds`. It is sent
   * there as its source text: it sees its argument and the page, nothing else.
   */
  async run<Argument, Result>(
    act: (argument: Argument) => Result | Promise<Result>,
    argument: Argument,
    milliseconds = PATIENCE,
  ): Promise<Result> {
    let timer: ReturnType<typeof setTimeout> | undefined;
    const tooLate = new Promise<never>((_, reject) => {
      timer = setTimeout(
        () => reject(new Error(`Not done in ${milliseconds} ms: ${act}`)),
        milliseconds,
      );
    });
    try {
      // Playwright's types want to know how the argument is serialized.
      // deno-lint-ignore no-explicit-any
      const result = this.page.evaluate(act as any, argument);
      return await Promise.race([result as Promise<Result>, tooLate]);
    } finally {
      clearTimeout(timer);
    }
  }

  /** Waits until there is text that matches in an element. */
  async waitForText(selector: string, text: string | RegExp): Promise<void> {
    await this.page.locator(selector).filter({ hasText: text }).first()
      .waitFor();
  }

  assertNoComplaints(): void {
    assertEquals(this.complaints, []);
  }
}

/** A server of `examples/` that has a page, run as the task of that name. */
export class PageServer implements AsyncDisposable {
  /** Its URL, as it prints it. */
  readonly url: string;
  readonly #program: Program;
  #ended: Promise<{ code: number; complaints: string }> | undefined;

  private constructor(url: string, program: Program) {
    this.url = url;
    this.#program = program;
  }

  /** Starts it at a free port, and waits until it listens. */
  static async start(task: string, ...args: string[]): Promise<PageServer> {
    const { url, program } = await startServer(task, ...args);
    return new PageServer(url, program);
  }

  /**
   * Ends it as Ctrl-C does; returns its standard error and its exit code. On
   * Windows, which cannot send a signal, it is killed, and the code is 1.
   */
  stop(): Promise<{ code: number; complaints: string }> {
    return this.#ended ??= this.#end();
  }

  async #end(): Promise<{ code: number; complaints: string }> {
    await using program = this.#program; // killed, if it does not end
    program.kill("SIGINT");
    const { code, stderr } = await program.ended();
    return { code, complaints: stderr };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const code = Deno.build.os === "windows" ? 1 : 0;
    assertEquals(await this.stop(), { code, complaints: "" });
  }
}
