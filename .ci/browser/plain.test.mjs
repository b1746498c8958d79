// Without JavaScript: links and forms do all.
import assert from "node:assert/strict";
import { test } from "node:test";
import { ended, KEY, open, track } from "./browser.mjs";

const plain = { javaScriptEnabled: false };

test("without JavaScript a person logs in, filters, pages and acts", async () => {
  const task = await track("slow");
  const page = await open("/tasks", { ...plain, as: null });
  await page.getByLabel("API key").fill(KEY);
  await page.getByRole("button", { name: "Log in" }).click();
  await page.waitForURL("/tasks");

  await page.getByRole("link", { name: "Older" }).click();
  assert.match(page.url(), /before=/);
  await page.goBack();
  await page.getByRole("group", { name: "Status" }).getByText("Failed").click();
  await page.getByRole("button", { name: "Filter", exact: true }).click();
  assert.match(page.url(), /status=failed/);
  assert.ok((await page.locator("[data-row] .s-failed").count()) > 0);

  await page.getByRole("searchbox").fill(task.task_id);
  await page.goto(`/tasks?q=${task.task_id}`);
  assert.match(page.url(), new RegExp(`/tasks/${task.id}$`));
  await page.getByRole("button", { name: /^Cancel/ }).click();
  const sure = page.locator("form[method=post]").getByRole("button", { name: /^Cancel/ });
  if (!/done=/.test(page.url())) await sure.click();
  await page.getByRole("status").getByText("Canceled").waitFor();
  assert.equal((await ended(task)).status, "canceled");
});

test("without JavaScript nothing is offered that needs it", async () => {
  const page = await open("/tasks", plain);
  assert.equal(await page.locator(".needs-script:visible, #live-pause:visible").count(), 0);
});
