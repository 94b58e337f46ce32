/** Prints "PASSED FAILED" of a report that vitest's JSON reporter wrote; a file that could not be loaded counts as one failure. */
import { readFileSync } from "node:fs";

const text = readFileSync(process.argv[2], "utf8");
if (text === "") {
  console.log("0 1"); // vitest did not get as far as writing it
} else {
  const { numPassedTests, numFailedTests, testResults } = JSON.parse(text);
  const unloaded = testResults.filter((file) => file.status === "failed" && file.assertionResults.length === 0).length;
  console.log(`${numPassedTests} ${numFailedTests + unloaded}`);
}
