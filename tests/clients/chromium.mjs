// Headless Chromium for the scripts of this folder. Console errors and warnings, uncaught exceptions and violations of
// the content security policy are collected as `complaints`.

import { chromium } from "playwright-core";

const FLAGS = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

export function launch(executablePath) {
  return chromium.launch({ executablePath, args: FLAGS });
}

export async function openPage(browser, options = {}) {
  const page = await (await browser.newContext(options)).newPage();
  const complaints = [];
  page.on("console", (message) => {
    if (["error", "warning"].includes(message.type())) complaints.push(message.text());
  });
  page.on("pageerror", (error) => complaints.push(String(error)));
  return { page, complaints };
}
