// River's own page, behind ours.
import assert from "node:assert/strict";
import { test } from "node:test";
import { BASE, cost, enter, observe, track } from "./browser.mjs";

test("River's page works under our rules", async () => {
  await track("slow");
  const page = await (await enter()).newPage();
  const seen = await observe(page);
  await page.goto("/jobs/", { waitUntil: "networkidle" });
  await page.getByRole("link", { name: /Running/ }).click();
  await page.locator("a[href*='/jobs/jobs/']").first().click();
  await page.getByText("Attempt", { exact: true }).waitFor();
  await page.goto("/jobs/queues");
  await page.getByText("deliver", { exact: true }).waitFor();
  assert.deepEqual(seen.complaints, []);
  assert.deepEqual(cost(seen).hosts, [new URL(BASE).host]);
});

test("its megabyte of scripts is compressed, and loaded once", async () => {
  const page = await (await enter()).newPage();
  const seen = await observe(page);
  await page.goto("/jobs/", { waitUntil: "networkidle" });
  const first = cost(seen).bytes;
  assert.ok(first < 450_000, `${first} bytes`);
  await page.goto("/jobs/queues", { waitUntil: "networkidle" });
  const second = cost(seen).bytes - first;
  assert.ok(second < 20_000, `${second} bytes the second time`);
});

test("a job is canceled with the page, and not by another site", async () => {
  await track("slow");
  const page = await (await enter()).newPage();
  await page.goto("/jobs/jobs?state=scheduled");
  await page.locator("a[href*='/jobs/jobs/']").first().click();
  const answer = page.waitForResponse((r) => r.url().endsWith("/jobs/api/jobs/cancel"));
  await page.getByRole("button", { name: "Cancel" }).click();
  assert.equal((await answer).status(), 200);
  for (const [site, want] of [["cross-site", 403], ["same-site", 403]]) {
    const answer = await page.request.post("/jobs/api/jobs/cancel", { headers: { "Sec-Fetch-Site": site, "Content-Type": "text/plain" }, data: '{"ids":["1"]}' });
    assert.equal(answer.status(), want, site);
  }
});

test("nobody sees jobs without logging in", async () => {
  for (const path of ["/jobs/", "/jobs/api/jobs"]) {
    const answer = await fetch(BASE + path, { redirect: "manual" });
    assert.ok([303, 401].includes(answer.status), `${path}: ${answer.status}`);
  }
});
