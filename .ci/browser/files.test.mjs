// Files from the archive: the relay of dev has deleted its own by now.
import assert from "node:assert/strict";
import { test } from "node:test";
import { cost, enter, observe, open } from "./browser.mjs";

test("a video of the gallery plays in a dialog, and goes on at another place", async () => {
  const page = await (await enter()).newPage();
  const answers = [];
  page.on("response", (r) => { if (r.url().endsWith("/content")) answers.push(r.status()); });
  await page.goto("/gallery?kind=video&archive=stored");
  await page.locator("[data-open]").first().click();
  const video = page.locator("#dialog video");
  await video.evaluate((v) => { v.muted = true; return v.play(); });
  await video.evaluate((v) => new Promise((goes) => { v.ontimeupdate = () => v.currentTime > 0 && goes(); }));
  const at = await video.evaluate((v) => new Promise((seeked) => {
    v.pause();
    v.onseeked = () => seeked(v.currentTime / v.duration);
    v.currentTime = v.duration * 0.7;
  }));
  assert.ok(Math.abs(at - 0.7) < 0.1, `it went to ${at}`);
  assert.ok(answers.length > 0 && answers.every((status) => status === 206), `answers ${answers}`);

  const first = await page.locator("#dialog h1").innerText();
  await page.locator("#dialog .close").focus();
  await page.keyboard.press("ArrowRight");
  await page.waitForFunction((first) => document.querySelector("#dialog h1")?.innerText !== first, first);
});

test("the gallery shows pictures, and loads nothing of a video before the mouse is on it", async () => {
  const page = await (await enter({ reducedMotion: "no-preference" })).newPage();
  const seen = await observe(page);
  await page.goto("/gallery", { waitUntil: "networkidle" });
  const pictures = page.locator("main img");
  assert.ok((await pictures.count()) > 20, `${await pictures.count()} pictures`);
  for (const picture of await pictures.all()) await picture.scrollIntoViewIfNeeded();
  await page.waitForFunction(() => [...document.querySelectorAll("main img")].every((i) => i.complete && i.naturalWidth > 0));
  assert.equal(cost(seen, (url) => url.includes("/content")).requests, 0);
  assert.ok(cost(seen).bytes <= 1_500_000, `${cost(seen).bytes} bytes`);

  await page.locator("[data-open]:has([data-video])").first().hover();
  await page.waitForFunction(() => document.querySelector(".still video")?.currentTime > 0);
  await page.mouse.move(0, 0);
  await page.locator(".still video").waitFor({ state: "detached" });
  assert.deepEqual(seen.complaints, []);
});

test("a file has a page, which plays it as well", async () => {
  const page = await open("/gallery?kind=video&archive=stored");
  await page.goto(await page.locator("[data-open]").first().getAttribute("href"));
  const video = page.locator("main video");
  await video.evaluate((v) => { v.muted = true; return v.play(); });
  await page.getByRole("link", { name: "Download" }).waitFor();
});
