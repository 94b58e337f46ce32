/**
 * What the GPU tests use of vitest, on Node's own test runner: `pack-gpu` puts it into its archive under the name vitest. A test that skips
 * itself fails, because whoever runs them there wants to know that they ran.
 */
import nodeTest, { after, before, describe as nodeDescribe } from "node:test";
import { JestAsymmetricMatchers, JestChaiExpect, JestExtend } from "@vitest/expect";
import * as chai from "chai";

for (const plugin of [JestExtend, JestChaiExpect, JestAsymmetricMatchers]) chai.use(plugin);

export const expect = (value, message) => chai.expect(value, message);
export const [beforeAll, afterAll] = [before, after];

const skipping = (run) =>
  Object.assign((name, body) => run(name, body), {
    skipIf: (absent) => (name, body) => absent ? nodeTest(name, () => { throw new Error("this machine has not what the test needs"); }) : run(name, body),
  });
export const describe = skipping(nodeDescribe);
export const test = skipping((name, body) => nodeTest(name, () => body()));
