// Every page: in both languages, themes and widths, for everybody, and light.
import assert from "node:assert/strict";
import { before, test } from "node:test";
import { api, BASE, cost, enter, observe, overflow, SCREENSHOTS, violations } from "./browser.mjs";

const maxBytes = 60_000, maxRequests = 8;
const heavy = new Set(["reports", "report"]); // it may be heavier

const paths = {
  overview: "/", tasks: "/tasks", "tasks-none": "/tasks?external_id=nobody", gallery: "/gallery", deliveries: "/deliveries", endpoints: "/endpoints", actions: "/actions",
  confirm: "/actions/new?do=cancel&since=1h", reports: "/reports", report: "/reports/daily", relays: "/relays", relay: "/relays/default", settings: "/settings", login: "/login", missing: "/nowhere",
};

before(async () => {
  const [done] = (await api("/v1/tasks?status=succeeded&limit=1")).data, [failed] = (await api("/v1/tasks?status=failed&limit=1")).data;
  const [film] = (await api("/v1/outputs?kind=video&archive_state=stored&limit=1")).data;
  const [delivery] = (await api("/v1/deliveries?limit=1")).data;
  Object.assign(paths, { delivery: `/deliveries/${delivery.id}`, file: `/gallery/${film.task}/video/${film.position}`, task: `/tasks/${done.id}`, "task-failed": `/tasks/${failed.id}` });
});

for (const name of [...Object.keys(paths), "delivery", "file", "task", "task-failed"]) {
  for (const language of ["en", "zh"]) test(`${name}, ${language}`, (t) => look(t, name, language));
}

async function look(t, name, language) {
  const page = await (await enter({ language, as: name === "login" ? null : undefined })).newPage();
  const seen = await observe(page);
  await page.goto(paths[name], { waitUntil: "load" });
  await page.waitForTimeout(300); // what a page loads later counts as well
  assert.equal(await page.getAttribute("html", "lang"), language === "zh" ? "zh-Hans" : "en");
  const { bytes, requests, hosts } = cost(seen, (url) => !url.endsWith("/thumbnail")); // of these the gallery has many
  t.diagnostic(`${name}: ${bytes} bytes, ${requests} requests`);
  const wrong = [];
  for (const theme of ["light", "dark"]) {
    for (const width of [1280, 375]) {
      await page.emulateMedia({ colorScheme: theme });
      await page.setViewportSize({ width, height: 800 });
      const at = `${theme}, ${width}`;
      if (language === "en" || at === "light, 375") wrong.push(...(await violations(page)).map((v) => `${at}: ${v}`));
      const wider = await overflow(page);
      if (wider > 0) wrong.push(`${at}: wider than the window by ${wider} pixels`);
      await page.screenshot({ path: `${SCREENSHOTS}/${name}-${language}-${theme}-${width}.png`, fullPage: true, clip: { x: 0, y: 0, width, height: 2400 } });
    }
  }
  assert.deepEqual(wrong, []);
  assert.deepEqual(seen.complaints.filter((c) => name !== "missing" || !c.includes("404")), []);
  assert.deepEqual(hosts, [new URL(BASE).host]);
  assert.ok(heavy.has(name) || bytes <= maxBytes && requests <= maxRequests, `${bytes} bytes, ${requests} requests`);
}
