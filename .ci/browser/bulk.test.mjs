// Many tasks at once.
import assert from "node:assert/strict";
import { test } from "node:test";
import { api, ended, isLive, open, track } from "./browser.mjs";

test("what a filter finds is canceled, unless that has become more since it was counted", async () => {
  const order = `bulk-${process.pid}`;
  const more = () => track("slow", { metadata: { order } });
  await Promise.all([more(), more(), more()]);
  const page = await open(`/tasks?metadata=order%3D${order}`);
  await page.getByRole("button", { name: "Cancel…" }).click();
  await page.locator("#dialog").getByText("3 tasks").waitFor();
  await more(); // while the person still reads
  await page.locator("#dialog").getByRole("button", { name: "Cancel them" }).click();
  await page.getByRole("alert").getByText("Nothing was done").waitFor();
  const canceled = async () => (await api(`/v1/tasks?metadata[order]=${order}&status=canceled`)).data.length;
  assert.equal(await canceled(), 0);

  await page.locator("main").getByText("4 tasks").waitFor();
  await page.locator("main").getByRole("button", { name: "Cancel them" }).click();
  await page.locator("main").getByText("4 of 4 are changed").waitFor();
  assert.equal(await canceled(), 4);
});

test("only chosen rows are canceled", async () => {
  const [one, other] = [await track("slow"), await track("slow")];
  const page = await open("/tasks");
  await page.locator(`#x${one.id}`).check();
  await page.getByRole("button", { name: "Cancel…" }).click();
  await page.locator("#dialog").getByText("1 task", { exact: true }).waitFor();
  await page.locator("#dialog").getByRole("button", { name: "Cancel them" }).click();
  await page.getByText("1 task is canceled").waitFor();
  assert.equal((await api(`/v1/tasks/${one.id}`)).status, "canceled");
  assert.notEqual((await api(`/v1/tasks/${other.id}`)).status, "canceled");
});

test("a dialog stays as it is through 50 live updates", async () => {
  const tasks = await Promise.all(Array.from({ length: 40 }, () => track("ok")));
  const page = await open("/tasks?since=1h");
  await isLive(page);
  await page.evaluate(() => {
    window.updates = 0;
    document.documentElement.addEventListener("live:put", () => window.updates++);
  });
  await page.getByRole("button", { name: "Cancel…" }).click();
  const dialog = page.locator("#dialog"), go = dialog.getByRole("button", { name: "Cancel them" });
  await go.focus();
  const before = await dialog.innerHTML(), updates = await page.evaluate(() => window.updates);
  while (await page.evaluate(() => window.updates) < updates + 50) {
    tasks.push(await track("quick")); // it counts as new above the list
    await page.waitForTimeout(200);
  }
  assert.equal(await dialog.innerHTML(), before);
  assert.ok(await go.evaluate((button) => button === document.activeElement), "the focus is elsewhere");
  await page.keyboard.press("Escape");
  assert.ok(!(await dialog.isVisible()), "it does not close");
  await Promise.all(tasks.map(ended));
});
