// How a script of this folder talks to the test that started it: one JSON object per line on stdout. The end of stdin
// means that the test has ended or was killed, so no script outlives its test.

export function say(event, details = {}) {
  process.stdout.write(`${JSON.stringify({ event, ...details })}\n`);
}

export function endOfInput() {
  return new Promise((resolve) => {
    process.stdin.on("end", resolve);
    process.stdin.resume();
  });
}
