// How a script of this folder talks to the test that started it: one JSON object per line out, and end of input means
// that the test is over (or gone, so that no script outlives it).

export function say(event, details = {}) {
  process.stdout.write(`${JSON.stringify({ event, ...details })}\n`);
}

export function endOfInput() {
  return new Promise((resolve) => {
    process.stdin.on("end", resolve);
    process.stdin.resume();
  });
}
