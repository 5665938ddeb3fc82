// A visit to the console: the key, a dead letter with its message and trace, a pause, a replay.
//
// node use_console.mjs <chromium> <console URL> <key> <hub> <folder for screenshots>

import { join } from "node:path";

import { launch, openPage } from "./chromium.mjs";
import { endOfInput, say } from "./lines.mjs";

const [executable, url, key, hub, folder] = process.argv.slice(2);
const browser = await launch(executable);

try {
  const { page, complaints } = await openPage(browser, { viewport: { width: 1320, height: 900 } });
  const requested = [];
  page.on("request", (request) => requested.push(request.url()));
  page.setDefaultTimeout(15_000);
  await page.goto(url);
  await page.getByLabel("API key").waitFor();
  await page.getByLabel("API key").fill("not the key of this service");
  await page.getByRole("button", { name: "Use" }).click();
  await page.getByText("The X-API-Key is not an API key").waitFor();
  await page.getByLabel("API key").fill(key);
  await page.getByRole("button", { name: "Use" }).click();
  await page.getByText("Live", { exact: true }).waitFor();
  await page.getByLabel("API key").waitFor({ state: "hidden" });
  say("open", {
    kept: await page.evaluate(() => [Object.keys(sessionStorage), localStorage.length, document.cookie]),
    partitions: await page.locator("#partitions tr").count(),
  });

  // The test now sends a message that is refused.
  await page.locator("#dead", { hasText: /^1$/ }).waitFor();
  await page.getByRole("row", { name: hub }).waitFor();
  await page.screenshot({ path: join(folder, "queue.png"), fullPage: true });
  await openView(page, "Dead letters");
  await page.getByRole("button", { name: /^Show the message/ }).click();
  const message = await page.locator("#letter-list pre").textContent();
  await page.screenshot({ path: join(folder, "letters.png"), fullPage: true });
  await page.getByRole("button", { name: /^Trace of/ }).click();
  await page.locator("#timeline li").nth(3).waitFor();
  say("dead", { message, trace: await page.locator("#timeline li b").allTextContents() });
  await page.screenshot({ path: join(folder, "trace.png"), fullPage: true });

  await openView(page, "Queue");
  await page.getByRole("button", { name: `Pause hub ${hub}`, exact: true }).click();
  await page.getByLabel("why, for those who see it").fill("tried by a test");
  await page.keyboard.press("Enter");
  await page.getByRole("dialog").getByText(`Pause hub ${hub}?`).waitFor();
  await page.keyboard.press("Escape");
  await page.getByText("Nothing is paused.").waitFor();
  await page.getByRole("button", { name: "Pause …" }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Pause" }).click();
  await page.getByRole("button", { name: `Resume hub:${hub}` }).waitFor();
  await page.getByText("tried by a test").last().waitFor();
  await page.screenshot({ path: join(folder, "pauses.png"), fullPage: true });
  say("paused");
  await page.getByRole("button", { name: `Resume hub:${hub}` }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Resume" }).click();
  await page.getByText("Nothing is paused.").waitFor();

  await openView(page, "Dead letters");
  await page.getByRole("combobox", { name: "hub" }).fill(hub);
  await page.getByRole("button", { name: "Show", exact: true }).click();
  await page.getByRole("button", { name: "Replay these …" }).click();
  await page.getByRole("dialog").getByText("Replay 1 dead letter?").waitFor();
  await page.getByRole("dialog").getByRole("button", { name: "Replay" }).click();
  await page.getByText("1 replayed.").waitFor();
  say("replayed");

  // An ingress with a second endpoint would list it: now it can be chosen, and the ingress, which has none, refuses it.
  await page.route("**/v1/admin/overview*", async (route) => {
    const response = await route.fetch();
    const overview = await response.json();
    overview.endpoints.push({ ...overview.endpoints[0], endpoint: "west" });
    await route.fulfill({ response, json: overview });
  });
  await page.getByLabel("endpoint", { exact: true }).fill("west");
  await page.getByRole("button", { name: "Show", exact: true }).click();
  await page.getByText("There are none.").waitFor();
  await openView(page, "Pauses");
  await page.getByLabel("at", { exact: true }).selectOption("west");
  await page.getByRole("button", { name: "Pause …" }).click();
  await page.locator("#pause-answer", { hasText: "west" }).waitFor();
  say("endpoint", { refused: await page.locator("#pause-answer").textContent() });

  await page.emulateMedia({ colorScheme: "dark" });
  await page.setViewportSize({ width: 390, height: 844 });
  const overflow = [];
  for (const name of ["Queue", "Pauses", "Dead letters", "Trace"]) {
    await openView(page, name);
    overflow.push(await page.evaluate(() => document.documentElement.scrollWidth - innerWidth));
    await page.screenshot({ path: join(folder, `narrow-${name.toLowerCase().replace(" ", "-")}.png`), fullPage: true });
  }
  say("narrow", { overflow, nameless: await page.evaluate(nameless) });
  await page.unroute("**/v1/admin/overview*");
  await page.getByRole("button", { name: "Forget the key" }).click();
  await page.getByLabel("API key").waitFor();
  say("left", {
    complaints: complaints.filter((text) => !/status of 40[01]/.test(text)),
    foreign: requested.filter((each) => !each.startsWith(new URL(url).origin) || each.includes(encodeURIComponent(key))),
    kept: await page.evaluate(() => sessionStorage.length),
  });
  await endOfInput();
} finally {
  await browser.close();
}

// Views change with the address, which the browser tells the page of after the click: a field of the view before
// could be found in between.
async function openView(page, name) {
  await page.getByRole("link", { name }).click();
  await page.getByRole("region", { name }).waitFor();
}

// Runs inside the page: returns the fields and buttons that have no accessible name.
function nameless() {
  return [...document.querySelectorAll("input, select, textarea, button:not(dialog button)")]
    .filter((element) => ![...(element.labels ?? [])].length && !element.ariaLabel && !element.textContent.trim())
    .map((element) => element.outerHTML);
}
