// Webhooks, and a person without a mouse.
import assert from "node:assert/strict";
import { exec } from "node:child_process";
import { test } from "node:test";
import { promisify } from "node:util";
import { api, ended, eventually, isLive, open, track } from "./browser.mjs";

// tabTo goes from control to control until one says what is wanted.
async function tabTo(page, name) {
  for (let n = 0; n < 100; n++) {
    await page.keyboard.press("Tab");
    if (await page.evaluate(() => document.activeElement.innerText?.trim()) === name) return;
  }
  assert.fail(`${name} cannot be reached by the keyboard`);
}

// delivered makes a task, and returns the first of its webhooks that has arrived.
async function delivered() {
  const task = await ended(await track("quick"));
  const arrived = async () => (await api(`/v1/deliveries?task=${task.id}&state=delivered`)).data;
  await eventually("a webhook arrives", true, async () => (await arrived()).length > 0);
  return (await arrived())[0];
}

test("by the keyboard alone, from the list to a webhook that is sent again", async () => {
  const task = await ended(await track("quick"));
  const page = await open("/tasks");
  await page.keyboard.press("?");
  assert.ok(await page.locator("#keys").isVisible(), "the keys are not shown");
  await page.keyboard.press("Escape");
  await page.keyboard.press("/");
  await page.keyboard.type(task.task_id.slice(0, 5));
  assert.equal(await page.getByRole("searchbox").inputValue(), task.task_id.slice(0, 5));
  await page.keyboard.press("Escape");
  await page.keyboard.press("j");
  await page.keyboard.press("j");
  await page.keyboard.press("k");
  await page.keyboard.press("x");
  assert.ok(await page.locator(`#x${task.id}`).isChecked(), "not chosen");
  await page.keyboard.press("Enter");
  await page.waitForURL(`/tasks/${task.id}`);

  await page.getByText("webhook task.succeeded").waitFor();
  await tabTo(page, "Send again");
  await page.keyboard.press("Enter");
  await page.getByRole("status").getByText("sent again").waitFor();
});

test("a webhook that is sent again shows its next attempt by itself", async () => {
  const delivery = await delivered();
  const page = await open(`/deliveries/${delivery.id}`);
  await page.locator("#attempt-1").getByText("HTTP 204").waitFor();
  await page.getByRole("button", { name: "Send again" }).click();
  await isLive(page);
  await page.locator("#attempt-2").getByText("HTTP 204").waitFor();
});

test("the command for curl is taken for genuine by the receiver", async () => {
  const delivery = await delivered();
  const page = await open(`/deliveries/${delivery.id}`);
  await page.getByRole("button", { name: "As curl" }).click();
  const command = await page.locator(".why code").innerText();
  const { stdout } = await promisify(exec)(`${command} --silent --show-error --output /dev/null --write-out '%{http_code}'`);
  assert.equal(stdout, "204", command);
});
