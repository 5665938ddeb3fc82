// A visit to the page of `fanout dev`: connect, join a group, send with the form, receive, read the gauges.
//
// node use_page.mjs <chromium> <page URL> <user> <hub> <group> <arguments> <folder for screenshots>

import { join } from "node:path";

import { launch, openPage } from "./chromium.mjs";
import { endOfInput, say } from "./lines.mjs";

const [executable, base, user, hub, group, args, folder] = process.argv.slice(2);
const browser = await launch(executable);

try {
  const { page, complaints } = await openPage(browser, { viewport: { width: 1320, height: 900 } });
  page.setDefaultTimeout(15_000);
  await page.goto(`${base}/?user=${user}&hub=${hub}`);
  await page.getByText(`Connected as ${user}`).waitFor();
  await page.getByText("Nothing has arrived yet.").waitFor();
  say("connected", { title: await page.title(), connectionId: await page.locator("#connection-id").textContent() });

  await page.getByPlaceholder("a group").fill(group);
  await page.getByRole("button", { name: "Join" }).click();
  await page.getByRole("button", { name: `Send to ${group}`, exact: true }).click();
  say("joined", { scope: await page.locator('[name="scope"]:checked').getAttribute("value"), name: await page.getByLabel("group", { exact: true }).inputValue() });

  // Without a name there is nothing to send: the message would go to everyone.
  await page.getByLabel("group", { exact: true }).fill(" ");
  await page.getByText("Enter the group. Without it the message would go to everyone.").waitFor();
  say("nameless", {
    disabled: await page.getByRole("button", { name: "Send", exact: true }).isDisabled(),
    curl: await page.locator("#curl").textContent(),
  });
  await page.getByLabel("group", { exact: true }).fill(group);

  await page.getByLabel("method").fill("exact");
  await page.getByLabel("arguments, a JSON array").fill(args);
  await page.getByRole("button", { name: "Send", exact: true }).click();
  const first = page.locator("#feed li").first();
  await first.locator("pre").waitFor();
  await page.getByText("202 accepted").waitFor();
  say("arrived", {
    target: await first.locator(".target").textContent(),
    arguments: await first.locator("pre").textContent(),
    latency: await first.locator(".latency").textContent(),
    curl: await page.locator("#curl").textContent(),
  });

  // The test now sends what the curl line says. Without a stamp it is shown without a latency.
  await page.locator("#feed li").nth(1).waitFor();
  say("arrived", { arguments: await first.locator("pre").textContent(), latency: await first.locator(".latency").textContent() });

  await page.getByRole("button", { name: "Send 100" }).click();
  await page.getByText("100 of 100 arrived").waitFor();
  await page.waitForFunction(() => document.getElementById("depth").textContent === "0"
    && parseInt(document.getElementById("delivered-note").textContent.replaceAll(",", ""), 10) >= 102);
  const lost = await page.locator("#connection-id").textContent();
  say("series", {
    summary: await page.locator("#series-summary").textContent(),
    count: await page.locator("#count").textContent(),
    depth: await page.locator("#depth").textContent(),
    accepted: await page.locator("#accepted-note").textContent(),
    delivered: await page.locator("#delivered-note").textContent(),
    peaks: await page.locator(".spark .trace").evaluateAll((paths) => paths.map((path) => path.getAttribute("d"))),
    nameless: await page.evaluate(nameless),
  });

  // The test now closes the connection through the service. The page connects again and joins its group again.
  await page.waitForFunction((id) => ![id, "–"].includes(document.getElementById("connection-id").textContent), lost);
  await page.getByText(`Connected as ${user}`).waitFor();
  await page.getByLabel("method").fill("afterwards");
  await page.getByRole("button", { name: "Send", exact: true }).click();
  await page.locator("#feed li").first().getByText("afterwards").waitFor();
  say("returned");

  await page.screenshot({ path: join(folder, "light.png") });
  await page.emulateMedia({ colorScheme: "dark" });
  await page.screenshot({ path: join(folder, "dark.png") });
  await page.setViewportSize({ width: 390, height: 844 });
  say("narrow", { overflow: await page.evaluate(() => document.documentElement.scrollWidth - innerWidth) });
  await page.screenshot({ path: join(folder, "narrow.png") });

  await page.getByRole("button", { name: `Leave ${group}`, exact: true }).click();
  await page.getByRole("button", { name: `Send to ${group}`, exact: true }).waitFor({ state: "detached" });
  say("left", { complaints });
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
