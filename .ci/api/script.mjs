// Services without a library: nothing but fetch. Tracks tasks at HOST, waits for each to
// end and its files to be kept, and prints all events after AFTER.
const { HOST, KEY, AFTER, TASKS } = process.env;
const headers = { Authorization: `Bearer ${KEY}`, "Content-Type": "application/json" };

async function ask(path, body) {
  const answer = await fetch(HOST + path, { headers, method: body ? "POST" : "GET", body: body && JSON.stringify(body) });
  if (!answer.ok) throw new Error(`${path}: ${answer.status} ${await answer.text()}`);
  return answer.json();
}

async function trackAndWait(n) {
  const made = await ask("/v1/tasks", { task_id: `script-${n}`, action: "videos", action2: "text2video", external_id: `order-${n}` });
  for (let task = made; ; task = await ask(`/v1/tasks/${made.id}?wait=20`)) {
    if (task.finished_at) return task;
  }
}

const ends = [];
for (let n = 0; n < Number(TASKS); n++) {
  ends.push(trackAndWait(n));
  await new Promise((next) => setTimeout(next, 150));
}
const tasks = await Promise.all(ends);
for (const task of tasks) {
  if (task.status !== "succeeded" || task.outputs.length !== 1) throw new Error(JSON.stringify(task));
}
// Files are kept a moment after their task ends, which is an event as well.
const isKept = (task) => task.outputs.every((output) => output.archive_state !== "pending");
for (const { id } of tasks) {
  while (!isKept(await ask(`/v1/tasks/${id}`))) await new Promise((again) => setTimeout(again, 100));
}
for (let after = AFTER; ; ) {
  const page = await ask(`/v1/events?after=${after}&limit=1000`);
  for (const event of page.data) console.log(event.id, event.type);
  if (!page.next) break;
  after = page.next;
}
