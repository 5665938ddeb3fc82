// A visit to /docs: it renders, every request goes to its own origin, and nothing is refused by its policy.
//
// node open_docs.mjs <chromium> <base URL>

import { launch, openPage } from "./chromium.mjs";
import { endOfInput, say } from "./lines.mjs";

const [executable, base] = process.argv.slice(2);
const browser = await launch(executable);

try {
  const { page, complaints } = await openPage(browser);
  page.setDefaultTimeout(15_000);
  const requested = [];
  page.on("request", (request) => requested.push(request.url()));
  const response = await page.goto(`${base}/docs`);
  await page.getByText("/v1/hubs/{hub}/messages").first().waitFor();
  await page.locator(".opblock-post .opblock-summary-control").first().click();
  await page.getByRole("button", { name: "Try it out" }).first().waitFor();
  say("rendered", {
    title: await page.locator(".info .title").first().innerText(),
    operations: await page.locator(".opblock").count(),
    policy: response.headers()["content-security-policy"],
    requested,
    complaints,
  });
  await endOfInput();
} finally {
  await browser.close();
}
