// Pages that change by themselves, and what must not change with them.
import assert from "node:assert/strict";
import { test } from "node:test";
import { ended, enter, eventually, isLive, open, setHidden, streams, track } from "./browser.mjs";

const mark = (page) => page.evaluate(() => { window.marked = true; });
const marked = (page) => page.evaluate(() => window.marked === true); // it was not loaded anew

test("a row turns succeeded by itself; what is focused and checked stays so", async () => {
  const task = await track("ok");
  const page = await open("/tasks");
  await isLive(page);
  await mark(page);
  const box = page.locator(`#x${task.id}`);
  await box.check();
  await page.locator(`#a${task.id}`).focus();
  await page.locator(`#t${task.id}-status`).getByText("Succeeded").waitFor();
  assert.ok(await box.isChecked(), "unchecked");
  assert.equal(await page.evaluate(() => document.activeElement.id), `a${task.id}`);
  assert.ok(await marked(page), "the page was loaded anew");
});

test("a row changes soon after the task", async (t) => {
  const tasks = await Promise.all(Array.from({ length: 12 }, () => track("ok")));
  const page = await open("/tasks");
  await isLive(page);
  await page.evaluate((ids) => {
    window.changed = {};
    for (const id of ids) {
      const cell = document.getElementById(`t${id}-status`);
      new MutationObserver(() => { if (cell.querySelector(".s-succeeded")) window.changed[id] ??= Date.now(); }).observe(cell, { childList: true, subtree: true });
    }
  }, tasks.map((task) => task.id));
  const ends = await Promise.all(tasks.map(ended));
  await page.locator(`#t${ends.sort((a, b) => a.finished_at < b.finished_at ? 1 : -1)[0].id}-status .s-succeeded`).waitFor();
  const changed = await page.evaluate(() => window.changed); // without those that had ended before
  const waits = ends.filter((task) => changed[task.id]).map((task) => changed[task.id] - Date.parse(task.finished_at)).sort((a, b) => a - b);
  t.diagnostic(`from the end of a task to its row, in ms: ${waits.join(" ")}`);
  const median = waits[Math.floor(waits.length / 2)];
  assert.ok(median < 500, `the median is ${median} ms`); // 150 on a quiet machine
});

test("a task's page tells of its end by itself", async () => {
  const task = await track("ok");
  const page = await open(`/tasks/${task.id}`);
  await isLive(page);
  await mark(page);
  await page.locator("main .status.s-succeeded").first().waitFor();
  assert.ok(await marked(page), "the page was loaded anew");
});

test("new tasks wait behind their number, and no row moves", async () => {
  const page = await open("/tasks");
  await isLive(page);
  const rows = () => page.locator("[data-row] [data-open]").allInnerTexts();
  const before = await rows();
  await track("ok");
  await track("ok");
  await page.locator("#new").getByText("2 new").waitFor();
  assert.deepEqual(await rows(), before);
  await page.locator("#new a").click();
  assert.notDeepEqual(await rows(), before);
});

test("a page that is loaded 30 times is live 30 times", async () => {
  const page = await open("/tasks");
  for (let n = 1; n <= 30; n++) {
    await page.reload({ waitUntil: "commit" });
    await isLive(page).catch(() => assert.fail(`load ${n} is not live`));
  }
});

test("of eight tabs only the one in sight has a stream", async () => {
  await eventually("the streams of other tests end", 0, streams);
  const window = await enter();
  const tabs = [];
  for (let n = 0; n < 8; n++) {
    if (n > 0) await setHidden(tabs[n - 1], true);
    tabs.push(await window.newPage());
    await tabs[n].goto("/tasks");
    await isLive(tabs[n]);
  }
  await eventually("hidden tabs close their stream", 1, streams);
  const task = await track("quick");
  await setHidden(tabs[7], true);
  await eventually("all are hidden", 0, streams);
  await ended(task);
  for (const tab of tabs) {
    await setHidden(tab, false);
    await tab.locator("#new a").waitFor(); // it tells what it has missed
    await setHidden(tab, true);
  }
});

test("a person stops what changes by itself, and has it go on", async () => {
  const page = await open("/tasks");
  await isLive(page);
  await page.getByRole("button", { name: "Pause" }).click();
  await track("quick");
  await page.waitForTimeout(700);
  assert.equal(await page.locator("#new").innerText(), "");
  await page.getByRole("button", { name: "Go on" }).click();
  await page.locator("#new").getByText("1 new").waitFor();
});
