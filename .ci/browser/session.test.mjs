// Logging in and out.
import assert from "node:assert/strict";
import { test } from "node:test";
import { BASE, ENTRY, enter, isLive, KEY, klingwatch, open } from "./browser.mjs";

const path = (page) => new URL(page.url()).pathname;

test("the address that dev prints lets in", async () => {
  const page = await open(ENTRY, { as: null });
  assert.equal(path(page), "/");
  await page.getByRole("navigation", { name: "Pages" }).getByRole("link", { name: "Tasks" }).click();
  assert.equal(path(page), "/tasks");
});

test("a person logs in with a key, goes on where they wanted to, and logs out", async () => {
  const page = await open("/tasks?status=failed", { as: null });
  assert.equal(path(page), "/login");
  await page.getByLabel("API key").fill("kw_wrong");
  await page.keyboard.press("Enter");
  await page.getByRole("alert").getByText("not valid").waitFor();
  await page.getByLabel("API key").fill(KEY);
  await page.keyboard.press("Enter");
  await page.waitForURL("/tasks?status=failed");
  const cookie = (await page.context().cookies()).find((c) => c.name === "klingwatch");
  assert.ok(cookie.httpOnly && cookie.sameSite === "Lax", JSON.stringify(cookie));

  await page.getByRole("button", { name: "Log out" }).click();
  assert.equal(path(page), "/login");
  await page.goto("/tasks");
  assert.equal(path(page), "/login");
});

test("a wrong key is answered with 401, and no other site is gone on to", async () => {
  const page = await open("/login?next=//elsewhere.test/", { as: null });
  await page.getByLabel("API key").fill("kw_wrong");
  const [answer] = await Promise.all([page.waitForResponse((r) => r.request().method() === "POST"), page.keyboard.press("Enter")]);
  assert.equal(answer.status(), 401);
  await page.getByLabel("API key").fill(KEY);
  await page.keyboard.press("Enter");
  await page.waitForURL("/");
});

test("a key that is revoked lets nobody in from then on", async () => {
  const key = /kw_\w+/.exec(await klingwatch("api-keys", "add", "browser", "--scope", "read"))[0];
  const page = await open("/tasks", { as: key });
  await isLive(page);
  await klingwatch("api-keys", "revoke", key.slice(3, 11));
  await page.waitForFunction(() => document.documentElement.dataset.live === "lost"); // its stream ends
  await page.reload();
  assert.equal(path(page), "/login");
});

test("another site cannot act for a person", async () => {
  const page = await (await enter()).newPage();
  await page.route("http://elsewhere.test/", (route) => route.fulfill({ contentType: "text/html", body: `<form method="post" action="${BASE}/logout"><button>Win</button></form>` }));
  await page.goto("http://elsewhere.test/");
  const [answer] = await Promise.all([page.waitForResponse((r) => r.url().endsWith("/logout")), page.getByRole("button").click()]);
  assert.equal(answer.status(), 403);
});

test("a person chooses the language, which is the browser's at first", async () => {
  const page = await open("/login", { as: null, language: "zh" });
  assert.equal(await page.getAttribute("html", "lang"), "zh-Hans");
  await page.getByRole("button", { name: "English" }).click();
  assert.equal(await page.getAttribute("html", "lang"), "en");
  await page.reload();
  assert.equal(await page.getAttribute("html", "lang"), "en");
});
