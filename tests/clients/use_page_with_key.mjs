// A visit to the page of `fanout dev` when an API key is set: a send is refused, the key is entered, the send succeeds.
//
// node use_page_with_key.mjs <chromium> <page URL> <key>

import { launch, openPage } from "./chromium.mjs";
import { endOfInput, say } from "./lines.mjs";

const [executable, base, key] = process.argv.slice(2);
const browser = await launch(executable);

try {
  const { page, complaints } = await openPage(browser, { viewport: { width: 390, height: 844 } });
  page.setDefaultTimeout(15_000);
  await page.goto(base);
  await page.getByRole("button", { name: "Send", exact: true }).click();
  await page.getByLabel("API key").waitFor();
  say("refused", { overflow: await page.evaluate(() => document.documentElement.scrollWidth - innerWidth) });

  await page.getByLabel("API key").fill(key);
  await page.getByRole("button", { name: "Use", exact: true }).click();
  await page.getByLabel("API key").waitFor({ state: "hidden" });
  await page.getByText("Connected as alice").waitFor();
  await page.getByRole("button", { name: "Send", exact: true }).click();
  await page.locator("#feed li").first().waitFor();
  await page.waitForFunction(() => document.getElementById("delivered-note").textContent.startsWith("1 "));
  say("received", { complaints: complaints.filter((text) => !text.includes("status of 401")) });
  await endOfInput();
} finally {
  await browser.close();
}
