// What the tests share: a browser, people in it, what a page does and costs, and the tasks
// that something happens to meanwhile.
import { execFile } from "node:child_process";
import { after, afterEach } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";
import { AxeBuilder } from "@axe-core/playwright";
import { chromium } from "playwright-core";

export const { BASE, KEY, ENTRY, SCREENSHOTS } = process.env;
const patience = 15_000;

// --- people

const browser = await chromium.launch({ executablePath: "/usr/bin/chromium", args: ["--no-sandbox"] });
after(() => browser.close());
afterEach(() => Promise.all(browser.contexts().map((window) => window.close())));

// enter opens a window for a person: who is logged in, unless as is null, and reads English
// on a wide light screen, unless said otherwise.
export async function enter({ as = KEY, language = "en", theme = "light", width = 1280, ...more } = {}) {
  const window = await browser.newContext({
    baseURL: BASE, colorScheme: theme, locale: language === "zh" ? "zh-CN" : "en-US", viewport: { width, height: 800 }, reducedMotion: "reduce", ...more,
  });
  window.setDefaultTimeout(patience);
  if (as) await window.addCookies(await cookiesOf(as));
  return window;
}

// open opens a page in a window of its own.
export async function open(path, who = {}) {
  const page = await (await enter(who)).newPage();
  await page.goto(path);
  return page;
}

const cookies = new Map();

async function cookiesOf(key) {
  if (!cookies.has(key)) {
    const answer = await fetch(`${BASE}/login`, { method: "POST", body: new URLSearchParams({ key, next: "/" }), redirect: "manual" });
    if (answer.status !== 303) throw new Error(`logging in: ${answer.status}`);
    cookies.set(key, answer.headers.getSetCookie().map((text) => {
      const [name, ...value] = text.split(";")[0].split("=");
      return { name, value: value.join("="), url: BASE, httpOnly: true, sameSite: "Lax" };
    }));
  }
  return cookies.get(key);
}

// --- what a page does

// observe notes from now on what a page loads, with its size on the wire, and what it complains
// about.
export async function observe(page) {
  const seen = { loads: new Map(), complaints: [] };
  page.on("console", (m) => { if (["error", "warning"].includes(m.type())) seen.complaints.push(`${m.type()}: ${m.text()}`); });
  page.on("pageerror", (e) => seen.complaints.push(`uncaught: ${e.message}`));
  const devtools = await page.context().newCDPSession(page);
  await devtools.send("Network.enable");
  devtools.on("Network.requestWillBeSent", ({ requestId, request }) => {
    if (!/^(data|blob):/.test(request.url)) seen.loads.set(requestId, { url: request.url, bytes: 0 });
  });
  devtools.on("Network.loadingFinished", ({ requestId, encodedDataLength }) => {
    if (seen.loads.has(requestId)) seen.loads.get(requestId).bytes = encodedDataLength;
  });
  return seen;
}

// cost is what was loaded, of addresses that match.
export function cost(seen, matches = () => true) {
  const loads = [...seen.loads.values()].filter((load) => matches(load.url));
  return { bytes: loads.reduce((sum, load) => sum + load.bytes, 0), requests: loads.length, hosts: [...new Set(loads.map((load) => new URL(load.url).host))] };
}

// violations are what axe finds, each in a line. It loads no stylesheet or video of its own for it,
// which takes half of the time and is for two rules about films that start by themselves and
// pages that stay upright. Rows after the fifth of a list are like those before.
export async function violations(page) {
  const { violations } = await new AxeBuilder({ page }).exclude("[data-row]:nth-child(n+6)").exclude(".tile:nth-child(n+6)").setLegacyMode().options({ preload: false }).analyze();
  return violations.flatMap((v) => v.nodes.map((n) => `${v.id}: ${n.target.join(" ")}: ${n.failureSummary.replace(/\s+/g, " ")}`));
}

// overflow is by how many pixels a page is wider than its window.
export const overflow = (page) => page.evaluate(() => document.documentElement.scrollWidth - innerWidth);

// isLive waits until the stream of a page is open.
export const isLive = (page) => page.waitForFunction(() => document.documentElement.dataset.live === "on", null, { timeout: 5_000 });

// setHidden makes a tab believe that another one is before it.
export const setHidden = (page, hidden) => page.evaluate((hidden) => {
  Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
  Object.defineProperty(document, "visibilityState", { value: hidden ? "hidden" : "visible", configurable: true });
  document.dispatchEvent(new Event("visibilitychange"));
}, hidden);

// --- what happens at the server

// api asks the HTTP API.
export async function api(path, body, method = body ? "POST" : "GET") {
  const answer = await fetch(BASE + path, {
    method, headers: { Authorization: `Bearer ${KEY}`, "Content-Type": "application/json" }, body: body && JSON.stringify(body),
  });
  const text = await answer.text();
  if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${text}`);
  return text && JSON.parse(text);
}

// klingwatch runs a command in the terminal, and returns what it prints.
export const klingwatch = async (...words) => (await promisify(execFile)(process.env.KLINGWATCH, words)).stdout;

let tracked = 0;

// track makes a task whose id begins with words for the simulated relay.
export const track = (words, more = {}) =>
  api("/v1/tasks", { task_id: `${words}-browser-${process.pid}-${++tracked}`, action: "videos", action2: "text2video", ...more });

// ended waits until a task has ended.
export async function ended(task) {
  for (let now = task; ; now = await api(`/v1/tasks/${task.id}?wait=20`)) if (now.finished_at) return now;
}

// streams is how many streams of pages and programs are open.
export async function streams() {
  const text = await (await fetch(`${BASE}/metrics`)).text();
  return Number(/^klingwatch_feed_listeners\{kind="stream"\} (\d+)/m.exec(text)?.[1] ?? 0);
}

// eventually repeats a question until its answer is the wanted one.
export async function eventually(what, wanted, ask) {
  const deadline = Date.now() + patience;
  for (let got; (got = await ask()) !== wanted; await sleep(50)) {
    if (Date.now() > deadline) throw new Error(`waited in vain: ${what}: ${got}, not ${wanted}`);
  }
}
