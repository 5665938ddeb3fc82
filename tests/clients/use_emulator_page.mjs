// A visit to the page of the emulator: cause a dead letter, see the refused call, limit the rate, remove everything.
//
// node use_emulator_page.mjs <chromium> <page URL> <folder for screenshots>

import { join } from "node:path";

import { launch, openPage } from "./chromium.mjs";
import { endOfInput, say } from "./lines.mjs";

const [executable, url, folder] = process.argv.slice(2);
const browser = await launch(executable);

try {
  const { page, complaints } = await openPage(browser, { viewport: { width: 1320, height: 900 } });
  page.setDefaultTimeout(15_000);
  await page.goto(url);
  await page.getByText("Running", { exact: true }).waitFor();
  say("opened", { title: await page.title(), connectionString: await page.getByLabel("connection string").inputValue() });

  await page.getByRole("button", { name: "A dead letter" }).click();
  await page.getByText("applied to 0 of 0 matching calls").waitFor();
  say("armed", { curl: await page.locator("#curl").textContent() });

  // The test now sends a message, which is refused.
  await page.getByText("applied to 1 of 1 matching calls, used up").waitFor();
  const call = page.locator("#journal details").first();
  await call.locator("summary").click();
  say("refused", {
    status: await call.locator(".status").textContent(),
    fault: await call.locator(".fault").textContent(),
    body: await call.locator("pre").textContent(),
  });

  await page.getByLabel("rules, a JSON list").fill('[{"kind": "status"}]');
  await page.getByRole("button", { name: "Apply" }).first().click();
  await page.getByText("kind status needs a status").waitFor();
  await page.getByRole("button", { name: "Remove all" }).click();
  await page.getByText("None.").waitFor();

  await page.getByLabel("calls per second").fill("7");
  await page.getByRole("button", { name: "Apply" }).last().click();
  await page.getByText("7 calls a second; more are answered 429 without Retry-After.").waitFor();
  say("limited");
  await page.getByRole("button", { name: "Remove", exact: true }).click();
  await page.getByText("There is no limit.").waitFor();

  await page.screenshot({ path: join(folder, "light.png") });
  await page.emulateMedia({ colorScheme: "dark" });
  await page.screenshot({ path: join(folder, "dark.png") });
  await page.setViewportSize({ width: 390, height: 844 });
  say("narrow", {
    overflow: await page.evaluate(() => document.documentElement.scrollWidth - innerWidth),
    nameless: await page.evaluate(nameless),
  });
  await page.screenshot({ path: join(folder, "narrow.png"), fullPage: true });

  await page.getByRole("button", { name: "Clear" }).click();
  await page.getByText("No call has arrived yet.").waitFor();
  say("cleared", { complaints: complaints.filter((text) => !text.includes("status of 400")) });
  await endOfInput();
} finally {
  await browser.close();
}

// Runs inside the page: returns the fields and buttons that have no accessible name.
function nameless() {
  return [...document.querySelectorAll("input, textarea, button")]
    .filter((element) => ![...(element.labels ?? [])].length && !element.ariaLabel && !element.textContent.trim())
    .map((element) => element.outerHTML);
}
